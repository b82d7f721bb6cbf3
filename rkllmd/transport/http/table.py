"""Which endpoints there are: the whole table, in the order of the description."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web

from rkllmd.transport.http import admin, ask, caches, ollama, openai, openapi
from rkllmd.transport.http.admin import ModelBody
from rkllmd.transport.http.caches import CreateBody
from rkllmd.transport.http.exchange import JSON, TEXT, Exchange
from rkllmd.transport.http.ollama_bodies import (
    GenerateBody,
    NamedBody,
    OllamaChatBody,
    OllamaEmbedBody,
)
from rkllmd.transport.http.openai_bodies import ChatBody, CompletionBody, EmbeddingBody
from rkllmd.transport.http.routes import Endpoint, Route
from rkllmd.transport.http.streams import NDJSON, SSE


def routes(read_metrics: Callable[[], Awaitable[str]]) -> tuple[Route, ...]:
    """All endpoints."""
    table = [
        Route("GET", "/v1/models", openai.models),
        Route("POST", "/v1/models/load", admin.load, ModelBody),
        Route("POST", "/v1/models/unload", admin.unload, ModelBody),
        Route("GET", "/v1/models/available", admin.available),
        Route("GET", "/v1/models/loaded", admin.loaded),
        Route("GET", "/v1/models/{model}", openai.model),
        Route("POST", "/v1/chat/completions", openai.chat, ChatBody, (JSON, SSE)),
        Route("POST", "/v1/completions", openai.completions, CompletionBody, (JSON, SSE)),
        Route("POST", "/v1/embeddings", openai.embeddings, EmbeddingBody),
        Route("GET", "/v1/cache", caches.listing),
        Route("GET", "/v1/cache/{model}", caches.listing),
        Route("GET", "/v1/cache/{model}/{name}", caches.show),
        Route("POST", "/v1/cache/{model}", caches.create, CreateBody, status=201),
        Route(
            "POST", "/v1/cache/{model}/generate-binary", caches.generate, CreateBody, status=201
        ),
        Route("DELETE", "/v1/cache/{model}/{name}", caches.delete),
        Route("GET", "/health", admin.health, open_to_all=True),
        Route("GET", "/ready", admin.ready, open_to_all=True),
        Route("GET", "/metrics", admin.metrics(read_metrics), answers=(TEXT,)),
        Route("GET", "/api/version", ollama.version),
        Route("GET", "/api/tags", ollama.tags),
        Route("GET", "/api/ps", ollama.ps),
        Route("POST", "/api/show", ollama.show, NamedBody),
        Route("POST", "/api/chat", ollama.chat, OllamaChatBody, (JSON, NDJSON)),
        Route("POST", "/api/generate", ollama.generate, GenerateBody, (JSON, NDJSON)),
        Route("POST", "/api/embed", ollama.embed, OllamaEmbedBody),
        Route("POST", "/api/pull", ollama.pull, NamedBody, (JSON, NDJSON)),
        Route(
            "POST", "/ask", ask.ask, bytes, (TEXT,),
            query={"stream": "1 for one sentence on each line, as soon as it is certain"},
        ),
    ]  # fmt: skip
    table.append(Route("GET", "/openapi.json", _description(table)))
    return tuple(table)


def _description(table: Sequence[Route]) -> Endpoint:
    document = functools.cache(lambda: openapi.document(table))

    async def endpoint(exchange: Exchange) -> web.Response:
        """This description."""
        # It reads the sources, for the texts below the bodies' members.
        return exchange.json(await asyncio.to_thread(document))

    return endpoint
