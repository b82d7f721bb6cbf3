"""The cache endpoints: list, show, create, build, delete."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from aiohttp import web

from rkllmd.errors import Code, RequestError, from_code
from rkllmd.protocol.messages import CacheBuild, CacheCreate, CacheDelete, CacheShow, Name
from rkllmd.shape import Length
from rkllmd.transport.http.exchange import Exchange

BYTES_OF_MB = 1_000_000


class ShownCache(TypedDict):
    """A cache; what is not known of one that cannot be read is null."""

    object: Literal["cache"]
    model: str
    cache_name: str
    created_at: float | None
    content_length: int | None
    source: str | None
    content: str | None
    size_mb: float
    tokens: int | None
    state: str
    reason: str
    fingerprint: str | None
    verified: bool
    last_used: float | None
    hits: int


class ShownCaches(TypedDict):
    """Caches."""

    object: Literal["list"]
    data: list[ShownCache]


class CreatedCache(TypedDict):
    """A cache that was built."""

    object: Literal["binary_cache.created"]
    model: str
    cache_name: str
    size_mb: float
    ttft_ms: float | None
    cached_tokens: int
    verified: bool
    message: str


class DeletedCache(TypedDict):
    """A cache that was deleted."""

    object: Literal["cache.deleted"]
    model: str
    cache_name: str
    deleted: Literal[True]
    rebuilt: bool
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateBody:
    """POST /v1/cache/{model}."""

    cache_name: Name
    """Its name."""
    prompt: Annotated[str, Length(1, 1 << 20)] | None = None
    """Its text."""
    content: Annotated[str, Length(1, 1 << 20)] | None = None
    """The same as `prompt`."""
    overwrite: bool = False
    """Replace one of the same name."""

    @property
    def text(self) -> str | None:
        """The text, by whichever name."""
        return self.prompt if self.prompt is not None else self.content


async def listing(exchange: Exchange) -> web.Response:
    """The caches, of all models or of one."""
    reply = await exchange.ask_values(CacheShow(exchange.path.get("model")))
    found: ShownCaches = {"object": "list", "data": [_shown(one) for one in reply["caches"]]}
    return exchange.json(found)


async def show(exchange: Exchange) -> web.Response:
    """One cache."""
    return exchange.json(_shown(await _one(exchange, exchange.path["name"])))


async def create(exchange: Exchange, body: CreateBody) -> web.Response:
    """Keep a prompt's text and build its cache."""
    if body.text is None:
        raise RequestError(
            Code.BAD_REQUEST, "prompt: found nothing, allowed: a text", member="prompt"
        )
    return await _create(exchange, body.cache_name, body.text, overwrite=body.overwrite)


async def generate(exchange: Exchange, body: CreateBody) -> web.Response:
    """Build a cache from its stored text, or from the text in the body."""
    if body.text is not None:
        return await _create(exchange, body.cache_name, body.text, overwrite=True)
    reply = await exchange.ask_values(
        CacheBuild(exchange.path["model"], body.cache_name, force=True)
    )
    for failed in reply["failed"]:
        raise from_code(failed["code"], failed["message"])
    return _created(exchange, await _one(exchange, body.cache_name), "built from the stored text")


async def delete(exchange: Exchange) -> web.Response:
    """Delete a cache; a declared prompt's is built again."""
    model, name = exchange.path["model"], exchange.path["name"]
    reply = await exchange.ask_values(CacheDelete(model, name))
    message = "deleted"
    if reply["rebuilt"]:
        message = "deleted; its prompt is declared in the configuration, so it is built again"
    deleted: DeletedCache = {
        "object": "cache.deleted",
        "model": model,
        "cache_name": name,
        "deleted": True,
        "rebuilt": reply["rebuilt"],
        "message": message,
    }
    return exchange.json(deleted)


async def _create(exchange: Exchange, name: str, text: str, *, overwrite: bool) -> web.Response:
    reply = await exchange.ask_values(
        CacheCreate(exchange.path["model"], name, text, overwrite=overwrite)
    )
    return _created(exchange, reply["cache"], "kept and built")


async def _one(exchange: Exchange, name: str) -> Mapping[str, Any]:
    reply = await exchange.ask_values(CacheShow(exchange.path["model"], name))
    found: Mapping[str, Any] = reply["caches"][0]
    return found


def _created(exchange: Exchange, found: Mapping[str, Any], message: str) -> web.Response:
    reason, first_token_ms = found.get("reason"), found.get("first_token_cached_ms")
    created: CreatedCache = {
        "object": "binary_cache.created",
        "model": found["model"],
        "cache_name": found["name"],
        "size_mb": _megabytes(found),
        "ttft_ms": None if first_token_ms is None else round(first_token_ms, 3),
        "cached_tokens": found.get("tokens") or 0,
        "verified": found["state"] == "verified",
        "message": f"{message}; {found['state']}{f': {reason}' if reason else ''}",
    }
    return exchange.json(created, status=201)


def _shown(found: Mapping[str, Any]) -> ShownCache:
    return {
        "object": "cache",
        "model": found["model"],
        "cache_name": found["name"],
        "created_at": found.get("created_at"),
        "content_length": found.get("content_length"),
        "source": found.get("source"),
        "content": found.get("content"),
        "size_mb": _megabytes(found),
        "tokens": found.get("tokens"),
        "state": found["state"],
        "reason": found.get("reason", ""),
        "fingerprint": found.get("fingerprint"),
        "verified": found["state"] == "verified",
        "last_used": found.get("last_used_at"),
        "hits": found.get("hits", 0),
    }


def _megabytes(found: Mapping[str, Any]) -> float:
    return round((found.get("size") or 0) / BYTES_OF_MB, 3)
