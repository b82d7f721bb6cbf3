"""OpenAI's endpoints: models, chat completions, completions, embeddings."""

import base64
from array import array
from collections.abc import Mapping
from functools import partial
from typing import Any

from aiohttp import web

from rkllmd.errors import Code, RequestError
from rkllmd.protocol.messages import (
    Chat,
    Complete,
    Done,
    Embed,
    ModelList,
    ModelShow,
    Prefill,
    Timing,
    Usage,
)
from rkllmd.transport.http.answers import answered
from rkllmd.transport.http.exchange import Exchange
from rkllmd.transport.http.openai_answers import ChatAnswer, CompletionAnswer, OpenAiAnswer
from rkllmd.transport.http.openai_bodies import (
    ChatBody,
    CompletionBody,
    EmbeddingBody,
    GenerationBody,
)
from rkllmd.transport.http.openai_shapes import Embeddings, ShownModel, ShownModels
from rkllmd.transport.http.streams import SSE


async def models(exchange: Exchange) -> web.Response:
    """The models."""
    reply = await exchange.ask_values(ModelList())
    found: ShownModels = {"object": "list", "data": [shown(one) for one in reply["models"]]}
    return exchange.json(found)


async def model(exchange: Exchange) -> web.Response:
    """One model."""
    reply = await exchange.ask_values(ModelShow(exchange.path["model"]))
    return exchange.json(shown(reply["models"][0]))


async def chat(exchange: Exchange, body: ChatBody) -> web.StreamResponse:
    """Answer a conversation; with `max_tokens` 0, prepare for it."""
    return await _answer(exchange, body, body.request(), ChatAnswer)


async def completions(exchange: Exchange, body: CompletionBody) -> web.StreamResponse:
    """Go on with a text, without a chat template."""
    return await _answer(exchange, body, body.request(), CompletionAnswer)


async def embeddings(exchange: Exchange, body: EmbeddingBody) -> web.Response:
    """Vectors of texts."""
    reply = await embedded(exchange, body.request(), body.dimensions)
    tokens = reply["usage"]["prompt_tokens"]
    found: Embeddings = {
        "object": "list",
        "model": reply["model"],
        "data": [
            {"object": "embedding", "index": index, "embedding": _written(vector, body)}
            for index, vector in enumerate(reply["embeddings"])
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return exchange.json(found)


async def embedded(exchange: Exchange, request: Embed, dimensions: int | None) -> Mapping[str, Any]:
    """The vectors, whose size is the model's."""
    reply = await exchange.ask_values(request)
    if dimensions not in {None, reply["dimensions"]}:
        raise RequestError(
            Code.UNSUPPORTED,
            f"dimensions: found {dimensions}, allowed: {reply['dimensions']}",
            member="dimensions",
        )
    return reply


async def _answer(
    exchange: Exchange,
    body: GenerationBody,
    request: Chat | Complete | Prefill,
    kind: type[OpenAiAnswer],
) -> web.StreamResponse:
    model = body.model or await exchange.default_model()
    answer = kind(model, with_usage=body.stream_options.include_usage)
    ask = partial(_ask, exchange, request)
    return await answered(exchange, ask, answer, SSE if body.stream else None)


async def _ask(exchange: Exchange, request: Chat | Complete | Prefill, deliver: Any) -> Done:
    if not isinstance(request, Prefill):
        return await exchange.ask_done(request, deliver)
    reply = await exchange.ask_values(request)
    return Done(
        text="",
        reason="length",
        model=reply["model"],
        session=request.session,
        usage=Usage(
            reply["prompt_tokens"],
            reply["cached_tokens"],
            0,
            reply["cache_hit"],
            tuple(reply["cached_prompts"]),
        ),
        timing=Timing(0.0, 0.0, reply["ms"], None, reply["ms"], None),
        warnings=tuple(reply["warnings"]),
    )


def shown(found: dict[str, Any]) -> ShownModel:
    """A model in OpenAI's list."""
    return {
        "id": found["name"],
        "object": "model",
        "created": int(found["modified_at"]),
        "owned_by": "rkllmd",
        "state": found["state"],
        "context_length": found["context"],
    }


def _written(vector: list[float], body: EmbeddingBody) -> list[float] | str:
    if body.encoding_format == "float":
        return vector
    return base64.b64encode(array("f", vector).tobytes()).decode()
