"""Ollama's endpoints. A stream is a JSON line for each piece; the last one has the numbers.

Where Ollama would unload or fetch models we say what is: models come and go with their folders, and
the configuration says how long they stay loaded.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from rkllmd import __version__
from rkllmd.errors import RkllmdError, StateError
from rkllmd.protocol.codec import to_json
from rkllmd.protocol.messages import (
    Chat,
    Complete,
    Delta,
    Done,
    Event,
    ModelList,
    ModelLoad,
    ModelShow,
    ModelUnload,
    ToolCalled,
)
from rkllmd.transport.http.admin import LOADED
from rkllmd.transport.http.exchange import Exchange
from rkllmd.transport.http.ollama_bodies import (
    GenerateBody,
    NamedBody,
    OllamaBody,
    OllamaChatBody,
    OllamaEmbedBody,
)
from rkllmd.transport.http.streams import NDJSON, Stream

LEVEL = "0.12.0"
"""The version whose clients find what they look for here."""
NS_OF_MS = 1_000_000
FOREVER = "9999-12-31T23:59:59Z"

Json = dict[str, Any]


async def version(exchange: Exchange) -> web.Response:
    """The version of Ollama that we answer like."""
    return exchange.json({"version": LEVEL, "rkllmd": __version__})


async def tags(exchange: Exchange) -> web.Response:
    """The models that are there."""
    reply = await exchange.ask_values(ModelList())
    return exchange.json({"models": [_listed(one) for one in reply["models"]]})


async def ps(exchange: Exchange) -> web.Response:
    """The models that are loaded."""
    reply = await exchange.ask_values(ModelList())
    there = [one for one in reply["models"] if one["state"] in LOADED]
    return exchange.json(
        {
            "models": [
                _listed(one)
                | {
                    "expires_at": FOREVER,
                    "size_vram": one["memory"] or 0,
                    "context_length": one["context"],
                }
                for one in there
            ]
        }
    )


async def show(exchange: Exchange, body: NamedBody) -> web.Response:
    """One model."""
    found = await _model(exchange, body.wanted)
    capabilities = found["capabilities"] or {}
    embeds = capabilities.get("embeddings", {}).get("ability") == "yes"
    return exchange.json(
        {
            "modelfile": "",
            "parameters": "",
            "template": "",
            "details": _details(found),
            "model_info": {
                "general.architecture": found["architecture"] or "",
                "general.parameter_count": found["parameters"] or 0,
                "rkllmd.context_length": found["context"] or 0,
            },
            "capabilities": ["completion", "tools", *(["embedding"] if embeds else [])],
            "modified_at": _moment(found["modified_at"]),
        }
    )


async def pull(exchange: Exchange, body: NamedBody) -> web.StreamResponse:
    """Say that a model is here; nothing is fetched."""
    await _model(exchange, body.wanted)
    if not body.stream:
        return exchange.json({"status": "success"})
    async with Stream(exchange, NDJSON) as stream:
        await stream.send(_line({"status": "success"}))
        return stream.response()


async def chat(exchange: Exchange, body: OllamaChatBody) -> web.StreamResponse:
    """Answer a conversation."""
    return await _answer(exchange, body, body.request(), _ChatPieces())


async def generate(exchange: Exchange, body: GenerateBody) -> web.StreamResponse:
    """Answer a prompt."""
    return await _answer(exchange, body, body.request(), _Pieces())


async def embed(exchange: Exchange, body: OllamaEmbedBody) -> web.Response:
    """Vectors of texts."""
    reply = await exchange.ask_values(body.request())
    return exchange.json(
        {
            "model": reply["model"],
            "embeddings": reply["embeddings"],
            "prompt_eval_count": reply["usage"]["prompt_tokens"],
        }
    )


class _Pieces:
    """The members of `generate`'s lines that say something."""

    def of(self, text: str, thoughts: str, calls: list[ToolCalled]) -> Json:
        """Text, thoughts and tool calls."""
        return {"response": text, **({"thinking": thoughts} if thoughts else {})}


class _ChatPieces(_Pieces):
    """Those of `chat`'s lines."""

    def of(self, text: str, thoughts: str, calls: list[ToolCalled]) -> Json:
        """Text, thoughts and tool calls."""
        message: Json = {"role": "assistant", "content": text}
        if thoughts:
            message["thinking"] = thoughts
        if calls:
            message["tool_calls"] = [
                {"function": {"name": call.name, "arguments": dict(call.arguments)}}
                for call in calls
            ]
        return {"message": message}


async def _answer(
    exchange: Exchange, body: OllamaBody, request: Chat | Complete | None, pieces: _Pieces
) -> web.StreamResponse:
    if request is None:
        return await _load(exchange, body, pieces)
    model = body.model or await exchange.default_model()
    if not body.stream:
        return await _whole(exchange, model, request, pieces)
    async with Stream(exchange, NDJSON, lambda: _piece(model, pieces.of("", "", []))) as stream:

        async def deliver(event: Event) -> None:
            match event:
                case Delta(text, "thinking"):
                    await stream.send(_piece(model, pieces.of("", text, [])))
                case Delta(text):
                    await stream.send(_piece(model, pieces.of(text, "", [])))
                case ToolCalled():
                    await stream.send(_piece(model, pieces.of("", "", [event])))
                case _:
                    pass

        try:
            done = await exchange.ask_done(request, deliver)
            await stream.send(_line(_frame(model) | pieces.of("", "", []) | _end(done)))
        except RkllmdError as error:
            if not stream.begun:
                raise
            with suppress(StateError):
                await stream.send(_line({"error": error.message}))
        return stream.response()


async def _whole(
    exchange: Exchange, model: str, request: Chat | Complete, pieces: _Pieces
) -> web.Response:
    thoughts, calls = "", []

    async def collect(event: Event) -> None:
        nonlocal thoughts
        match event:
            case Delta(text, "thinking"):
                thoughts += text
            case ToolCalled():
                calls.append(event)
            case _:
                pass

    done = await exchange.ask_done(request, collect)
    return exchange.json(_frame(model) | pieces.of(done.text, thoughts, calls) | _end(done))


async def _load(exchange: Exchange, body: OllamaBody, pieces: _Pieces) -> web.StreamResponse:
    """Nothing is to be answered: load the model, or let go of it."""
    entry = await _model(exchange, body.common()["model"])
    unloads = body.unloads()
    await exchange.ask_values((ModelUnload if unloads else ModelLoad)(entry["name"]))
    line = (
        _frame(body.model or entry["name"])
        | pieces.of("", "", [])
        | {"done": True, "done_reason": "unload" if unloads else "load"}
    )
    if not body.stream:
        return exchange.json(line)
    async with Stream(exchange, NDJSON) as stream:
        await stream.send(_line(line))
        return stream.response()


async def _model(exchange: Exchange, name: str | None) -> Mapping[str, Any]:
    reply = await exchange.ask_values(ModelShow(name or await exchange.default_model()))
    found: Mapping[str, Any] = reply["models"][0]
    return found


def _frame(model: str) -> Json:
    return {"model": model, "created_at": _moment(datetime.now(UTC).timestamp())}


def _piece(model: str, piece: Json) -> bytes:
    return _line(_frame(model) | piece | {"done": False})


def _end(done: Done) -> Json:
    timing, usage = done.timing, done.usage
    return {
        "done": True,
        "done_reason": "length" if done.reason in {"length", "deadline"} else "stop",
        "total_duration": _ns(timing.total_ms),
        "load_duration": _ns(timing.load_ms),
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_duration": _ns(timing.prefill_ms),
        "eval_count": usage.completion_tokens,
        "eval_duration": _ns(timing.decode_ms),
        "cached_tokens": usage.cached_tokens,
        "cache_hit": usage.cache_hit,
    }


def _listed(found: Mapping[str, Any]) -> Json:
    return {
        "name": found["name"],
        "model": found["name"],
        "modified_at": _moment(found["modified_at"]),
        "size": found["size"],
        "digest": found["digest"],
        "details": _details(found),
    }


def _details(found: Mapping[str, Any]) -> Json:
    family = found["architecture"] or found["engine"] or ""
    count = found["parameters"]
    return {
        "parent_model": "",
        "format": found["file"].rpartition(".")[2],
        "family": family,
        "families": [family],
        "parameter_size": f"{count / 1e9:.1f}B" if count else "",
        "quantization_level": "",
    }


def _line(data: Json) -> bytes:
    return f"{to_json(data)}\n".encode(errors="replace")


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _ns(milliseconds: float) -> int:
    return round(milliseconds * NS_OF_MS)
