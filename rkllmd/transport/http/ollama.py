"""Ollama's endpoints.

Where Ollama would unload or fetch models we say what is: models come and go with their folders, and
the configuration says how long they stay loaded.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from aiohttp import web

from rkllmd import __version__
from rkllmd.protocol.messages import (
    Chat,
    Complete,
    ModelList,
    ModelLoad,
    ModelShow,
    ModelUnload,
)
from rkllmd.transport.http.admin import LOADED
from rkllmd.transport.http.answers import answered
from rkllmd.transport.http.exchange import Exchange
from rkllmd.transport.http.ollama_answers import (
    ChatAnswer,
    GenerateAnswer,
    ModelInfo,
    OllamaEmbeddings,
    Pulled,
    RunningModels,
    TaggedModels,
    Version,
    details,
    line,
    moment,
    running,
    tagged,
)
from rkllmd.transport.http.ollama_bodies import (
    GenerateBody,
    NamedBody,
    OllamaBody,
    OllamaChatBody,
    OllamaEmbedBody,
)
from rkllmd.transport.http.openai import embedded
from rkllmd.transport.http.streams import NDJSON, Stream

LEVEL = "0.12.0"
"""The version whose clients find what they look for here."""


async def version(exchange: Exchange) -> web.Response:
    """The version of Ollama that we answer like."""
    found: Version = {"version": LEVEL, "rkllmd": __version__}
    return exchange.json(found)


async def tags(exchange: Exchange) -> web.Response:
    """The models that are there."""
    reply = await exchange.ask_values(ModelList())
    found: TaggedModels = {"models": [tagged(one) for one in reply["models"]]}
    return exchange.json(found)


async def ps(exchange: Exchange) -> web.Response:
    """The models that are loaded."""
    reply = await exchange.ask_values(ModelList())
    there = [one for one in reply["models"] if one["state"] in LOADED]
    found: RunningModels = {"models": [running(one) for one in there]}
    return exchange.json(found)


async def show(exchange: Exchange, body: NamedBody) -> web.Response:
    """One model."""
    found = await _model(exchange, body.wanted)
    capabilities = found["capabilities"] or {}
    embeds = capabilities.get("embeddings", {}).get("ability") == "yes"
    shown: ModelInfo = {
        "modelfile": "",
        "parameters": "",
        "template": "",
        "details": details(found),
        "model_info": {
            "general.architecture": found["architecture"] or "",
            "general.parameter_count": found["parameters"] or 0,
            "rkllmd.context_length": found["context"] or 0,
        },
        "capabilities": ["completion", "tools", *(["embedding"] if embeds else [])],
        "modified_at": moment(found["modified_at"]),
    }
    return exchange.json(shown)


async def pull(exchange: Exchange, body: NamedBody) -> web.StreamResponse:
    """Say that a model is here; nothing is fetched."""
    await _model(exchange, body.wanted)
    found: Pulled = {"status": "success"}
    return await _one_line(exchange, found, stream=body.stream)


async def chat(exchange: Exchange, body: OllamaChatBody) -> web.StreamResponse:
    """Answer a conversation."""
    return await _answer(exchange, body, body.request(), ChatAnswer)


async def generate(exchange: Exchange, body: GenerateBody) -> web.StreamResponse:
    """Answer a prompt."""
    return await _answer(exchange, body, body.request(), GenerateAnswer)


async def embed(exchange: Exchange, body: OllamaEmbedBody) -> web.Response:
    """Vectors of texts."""
    reply = await embedded(exchange, body.request(), body.dimensions)
    found: OllamaEmbeddings = {
        "model": reply["model"],
        "embeddings": reply["embeddings"],
        "prompt_eval_count": reply["usage"]["prompt_tokens"],
    }
    return exchange.json(found)


async def _answer(
    exchange: Exchange,
    body: OllamaBody,
    request: Chat | Complete | None,
    kind: type[GenerateAnswer],
) -> web.StreamResponse:
    if request is None:
        return await _load(exchange, body, kind)
    answer = kind(body.model or await exchange.default_model())
    ask = partial(exchange.ask_done, request)
    return await answered(exchange, ask, answer, NDJSON if body.stream else None)


async def _load(
    exchange: Exchange, body: OllamaBody, kind: type[GenerateAnswer]
) -> web.StreamResponse:
    """Nothing is to be answered: load the model, or let go of it."""
    entry = await _model(exchange, body.common()["model"])
    unloads = body.unloads()
    await exchange.ask_values((ModelUnload if unloads else ModelLoad)(entry["name"]))
    answer = kind(body.model or entry["name"])
    over = answer.over("unload" if unloads else "load")
    return await _one_line(exchange, over, stream=body.stream)


async def _one_line(
    exchange: Exchange, found: Mapping[str, Any], *, stream: bool
) -> web.StreamResponse:
    if not stream:
        return exchange.json(found)
    async with Stream(exchange, NDJSON) as written:
        await written.send(line(found))
        return written.response()


async def _model(exchange: Exchange, name: str | None) -> Mapping[str, Any]:
    reply = await exchange.ask_values(ModelShow(name or await exchange.default_model()))
    found: Mapping[str, Any] = reply["models"][0]
    return found
