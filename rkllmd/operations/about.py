"""The daemon itself: `hello`, `help`, `ping`, `status`, `reload`, `log.level`, and `cancel`."""

import asyncio
import logging
from typing import Any

from rkllmd import __version__
from rkllmd.board.reading import read_board
from rkllmd.errors import Code, RequestError
from rkllmd.operations.call import Call
from rkllmd.operations.models import shown
from rkllmd.operations.services import Services
from rkllmd.operations.watching import heat
from rkllmd.protocol.codec import OPERATIONS, OUTPUT_LINE_BYTES_MAX
from rkllmd.protocol.messages import (
    Cancel,
    Hello,
    Help,
    LogLevel,
    Ping,
    Reload,
    Status,
)
from rkllmd.protocol.schema import of_operation, whole
from rkllmd.shape import nearest

journal = logging.getLogger("rkllmd")

PROTOCOL_VERSION = 1
TOTALS = ("answers", "cache_hits", "prompt_tokens", "cached_tokens", "completion_tokens")
FEATURES = ("caches", "sessions", "sentences", "prefill", "tools", "watch")


async def hello(services: Services, request: Hello, call: Call) -> dict[str, Any]:
    """Who we are."""
    settings = services.config.socket
    return {
        "server": "rkllmd",
        "version": __version__,
        "protocol": PROTOCOL_VERSION,
        "ops": sorted(OPERATIONS),
        "features": list(FEATURES),
        "limits": {
            "line_bytes_max": settings.line_bytes_max,
            "output_line_bytes_max": OUTPUT_LINE_BYTES_MAX,
            "connections_max": settings.connections_max,
            "requests_max": settings.requests_max,
            "queue_length_max": services.config.queue.length_max,
        },
        "models": sorted(services.registry.models),
    }


async def show_help(services: Services, request: Help, call: Call) -> dict[str, Any]:
    """The schema of requests and events."""
    if request.about is not None and request.about not in OPERATIONS:
        close = nearest(request.about, list(OPERATIONS))
        hint = f" (did you mean {close!r}?)" if close else ""
        raise RequestError(Code.UNKNOWN_OP, f"there is no operation {request.about!r}{hint}")
    return {"schema": whole() if request.about is None else of_operation(request.about)}


async def ping(services: Services, request: Ping, call: Call) -> dict[str, Any]:
    """We are there."""
    return {}


async def status(services: Services, request: Status, call: Call) -> dict[str, Any]:
    """How we are."""
    lanes = services.scheduler.lanes
    entries = services.registry.models.values()
    return {
        "state": services.state,
        "ready": services.state == "ready",
        "version": __version__,
        "uptime_s": round(services.now() - services.started, 3),
        "queue": {
            name: {"running": lane.turns.running is not None, "waiting": len(lane.turns)}
            for name, lane in lanes.items()
        },
        "models": [_short(shown(services, entry)) for entry in entries],
        "npu": await _npu(),
        "caches": [
            {name: one.get(name) for name in ("model", "name", "state", "reason", "tokens", "size")}
            for one in services.caches.listing()
        ],
        "building": services.reconciler.said(),
        "last": services.last,
        "totals": {name: services.totals[name] for name in TOTALS},
        "notes": services.notes(),
    }


async def reload(services: Services, request: Reload, call: Call) -> dict[str, Any]:
    """Read the configuration, the models and the prompts again."""
    return await services.reload()


async def log_level(services: Services, request: LogLevel, call: Call) -> dict[str, Any]:
    """Show or set the level; the configuration's comes back with a reload."""
    if request.level is not None:
        journal.setLevel(request.level.upper())
    return {"level": logging.getLevelName(journal.level).lower()}


async def cancel(services: Services, request: Cancel, call: Call) -> dict[str, Any]:
    """End other requests; they end by themselves, with their own final lines."""
    calls = set(call.connection.open_calls()) if request.all else set()
    if request.target is not None:
        found = call.connection.find(request.target)
        calls |= {found} if found is not None else set()
    if request.session is not None:
        calls |= services.speaking(request.session)
    calls.discard(call)
    for one in calls:
        one.cancel()
    return {"cancelled": len(calls)}


async def _npu() -> dict[str, Any] | None:
    """What the kernel says of the NPU, where there is one."""
    board = await asyncio.to_thread(read_board)
    if board.chip is None:
        return None
    return {"chip": board.chip, "driver": board.driver, "load": board.npu_load, **heat(board)}


def _short(model: dict[str, Any]) -> dict[str, Any]:
    names = ("name", "engine", "state", "reason", "default", "context", "memory", "cannot_save")
    return {name: model[name] for name in names}
