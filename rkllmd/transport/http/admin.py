"""What administrators and monitoring ask: models, health, readiness, metrics, the description."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from aiohttp import web

from rkllmd.protocol.messages import ModelList, ModelLoad, ModelUnload, Status
from rkllmd.shape import Length
from rkllmd.transport.http.exchange import Exchange
from rkllmd.transport.http.openai import shown

LOADED = frozenset({"starting", "loading", "ready"})


@dataclass(frozen=True, slots=True)
class ModelBody:
    """POST /v1/models/load and /v1/models/unload."""

    model: Annotated[str, Length(1)]
    """Which."""


class FoundModels(TypedDict):
    """Models, with what `model.list` tells of them on the socket."""

    object: Literal["list"]
    data: list[Mapping[str, Any]]


class Health(TypedDict):
    """That the daemon lives."""

    status: Literal["ok"]


class Readiness(TypedDict):
    """What the daemon is at, and what is to be known."""

    status: str
    building: str
    notes: list[str]


async def load(exchange: Exchange, body: ModelBody) -> web.Response:
    """Load a model, also one whose last load failed."""
    reply = await exchange.ask_values(ModelLoad(body.model))
    return exchange.json(shown(reply["model"]))


async def unload(exchange: Exchange, body: ModelBody) -> web.Response:
    """Unload a model."""
    reply = await exchange.ask_values(ModelUnload(body.model))
    return exchange.json(shown(reply["model"]))


async def available(exchange: Exchange) -> web.Response:
    """The models that are there, loaded or not."""
    reply = await exchange.ask_values(ModelList())
    return _found(exchange, reply["models"])


async def loaded(exchange: Exchange) -> web.Response:
    """The models that are loaded or being loaded."""
    reply = await exchange.ask_values(ModelList())
    return _found(exchange, [one for one in reply["models"] if one["state"] in LOADED])


async def health(exchange: Exchange) -> web.Response:
    """Whether the daemon lives."""
    alive: Health = {"status": "ok"}
    return exchange.json(alive)


async def ready(exchange: Exchange) -> web.Response:
    """Whether the models answer and their first caches are there; 503 until then."""
    status = await exchange.ask_values(Status())
    found: Readiness = {
        "status": status["state"], "building": status["building"], "notes": status["notes"],
    }  # fmt: skip
    return exchange.json(found, 200 if status["ready"] else 503)


def metrics(read: Callable[[], Awaitable[str]]) -> Callable[[Exchange], Awaitable[web.Response]]:
    """The endpoint of what the daemon counts and measures."""

    async def endpoint(exchange: Exchange) -> web.Response:
        """What the daemon counts and measures, for Prometheus."""
        return exchange.text(await read(), headers={"Cache-Control": "no-store"})

    return endpoint


def _found(exchange: Exchange, models: list[Mapping[str, Any]]) -> web.Response:
    found: FoundModels = {"object": "list", "data": models}
    return exchange.json(found)
