"""Which endpoints there are: the whole table, in the order of the description."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from rkllmd.errors import Code
from rkllmd.transport.http import admin, ask, caches, ollama, openai, openapi
from rkllmd.transport.http import ollama_answers as told
from rkllmd.transport.http import openai_shapes as said
from rkllmd.transport.http.admin import FoundModels, Health, ModelBody, Readiness
from rkllmd.transport.http.caches import (
    CreateBody,
    CreatedCache,
    DeletedCache,
    ShownCache,
    ShownCaches,
)
from rkllmd.transport.http.exchange import Exchange
from rkllmd.transport.http.ollama_bodies import (
    GenerateBody,
    NamedBody,
    OllamaChatBody,
    OllamaEmbedBody,
)
from rkllmd.transport.http.openai_bodies import ChatBody, CompletionBody, EmbeddingBody
from rkllmd.transport.http.routes import Endpoint, Route
from rkllmd.transport.http.streams import NDJSON, SSE

ASKS = frozenset({Code.SHUTTING_DOWN})
"""Asks an operation."""
OF_MODEL = ASKS | {Code.UNKNOWN_MODEL}
OF_CACHE = OF_MODEL | {Code.UNKNOWN_CACHE}
LOADS = OF_MODEL | {
    Code.NOT_READY, Code.OUT_OF_MEMORY, Code.LOAD_FAILED, Code.ENGINE_CRASHED, Code.ENGINE_HUNG,
}  # fmt: skip
ANSWERS = LOADS | {
    Code.UNSUPPORTED, Code.QUEUE_FULL, Code.DEADLINE, Code.ENGINE_ERROR, Code.CONTEXT_OVERFLOW,
}  # fmt: skip
DELETES = OF_CACHE | {Code.STORAGE_FULL}
CREATES = ANSWERS | DELETES | {Code.CACHE_EXISTS}


def routes(read_metrics: Callable[[], Awaitable[str]]) -> tuple[Route, ...]:
    """All endpoints."""
    table = [
        Route("GET", "/v1/models", openai.models, said.ShownModels, errors=ASKS),
        Route(
            "POST", "/v1/models/load", admin.load, said.ShownModel, ModelBody, errors=LOADS
        ),
        Route(
            "POST", "/v1/models/unload", admin.unload, said.ShownModel, ModelBody, errors=OF_MODEL
        ),
        Route("GET", "/v1/models/available", admin.available, FoundModels, errors=ASKS),
        Route("GET", "/v1/models/loaded", admin.loaded, FoundModels, errors=ASKS),
        Route("GET", "/v1/models/{model}", openai.model, said.ShownModel, errors=OF_MODEL),
        Route(
            "POST", "/v1/chat/completions", openai.chat, said.ChatCompletion, ChatBody,
            (SSE, said.ChatCompletionChunk), ANSWERS,
        ),
        Route(
            "POST", "/v1/completions", openai.completions, said.Completion, CompletionBody,
            (SSE, said.CompletionChunk), ANSWERS,
        ),
        Route(
            "POST", "/v1/embeddings", openai.embeddings, said.Embeddings, EmbeddingBody,
            errors=ANSWERS,
        ),
        Route("GET", "/v1/cache", caches.listing, ShownCaches, errors=ASKS),
        Route("GET", "/v1/cache/{model}", caches.listing, ShownCaches, errors=OF_MODEL),
        Route("GET", "/v1/cache/{model}/{name}", caches.show, ShownCache, errors=OF_CACHE),
        Route(
            "POST", "/v1/cache/{model}", caches.create, CreatedCache, CreateBody, None, CREATES, 201
        ),
        Route(
            "POST", "/v1/cache/{model}/generate-binary", caches.generate, CreatedCache, CreateBody,
            None, CREATES, 201,
        ),
        Route("DELETE", "/v1/cache/{model}/{name}", caches.delete, DeletedCache, errors=DELETES),
        Route("GET", "/health", admin.health, Health, open_to_all=True),
        Route("GET", "/ready", admin.ready, Readiness, errors=ASKS, open_to_all=True),
        Route("GET", "/metrics", admin.metrics(read_metrics), str),
        Route("GET", "/api/version", ollama.version, told.Version),
        Route("GET", "/api/tags", ollama.tags, told.TaggedModels, errors=ASKS),
        Route("GET", "/api/ps", ollama.ps, told.RunningModels, errors=ASKS),
        Route("POST", "/api/show", ollama.show, told.ModelInfo, NamedBody, errors=OF_MODEL),
        Route(
            "POST", "/api/chat", ollama.chat, told.ChatLine, OllamaChatBody,
            (NDJSON, told.ChatLine), ANSWERS,
        ),
        Route(
            "POST", "/api/generate", ollama.generate, told.GenerateLine, GenerateBody,
            (NDJSON, told.GenerateLine), ANSWERS,
        ),
        Route(
            "POST", "/api/embed", ollama.embed, told.OllamaEmbeddings, OllamaEmbedBody,
            errors=ANSWERS,
        ),
        Route(
            "POST", "/api/pull", ollama.pull, told.Pulled, NamedBody, (NDJSON, told.Pulled),
            OF_MODEL,
        ),
        Route(
            "POST", "/ask", ask.ask, str, bytes, errors=ANSWERS,
            query={"stream": "1 for one sentence on each line, as soon as it is certain"},
        ),
    ]  # fmt: skip
    table.append(Route("GET", "/openapi.json", _description(table), Mapping[str, Any]))
    return tuple(table)


def _description(table: Sequence[Route]) -> Endpoint:
    document = functools.cache(lambda: openapi.document(table))

    async def endpoint(exchange: Exchange) -> web.Response:
        """This description."""
        # It reads the sources, for the texts below the bodies' members.
        return exchange.json(await asyncio.to_thread(document))

    return endpoint
