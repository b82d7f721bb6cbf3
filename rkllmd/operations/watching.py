"""`watch`: what happens, told to one client until it cancels.

Where each kind comes from:

    state, model, cache   by the daemon's parts, through the news desk; the first word is the state
    queue                 likewise, whenever somebody comes, starts, overtakes or leaves; and first
                          as it is
    thermal               read from the board for this client, at once and then now and then; told
                          when it is another
    log                   what is logged meanwhile, from the asked level up; what is below the log's
                          own level (`log.level`) is never made
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Any

from rkllmd.board.parse import Board
from rkllmd.board.reading import read_board
from rkllmd.operations.call import Call
from rkllmd.operations.news import Watcher
from rkllmd.operations.services import Services
from rkllmd.protocol.messages import Noted, Watch
from rkllmd.scheduling.turns import Ticket, Turns

BOARD_SECONDS = 5.0
LOG_CHARACTERS_MAX = 4000


async def watch(services: Services, request: Watch, call: Call) -> dict[str, Any]:
    """Tell what happens until cancelled."""
    async with AsyncExitStack() as stack:
        watcher = stack.enter_context(services.news.watching(request.kinds))
        stack.callback(call.stop.subscribe(lambda _: watcher.hear(None)))
        if watcher.wants("log"):
            stack.enter_context(_overhearing(watcher, request.level))
        if watcher.wants("thermal"):
            feeling = asyncio.create_task(_feel(watcher), name="feel the board's heat")
            stack.callback(feeling.cancel)
        if watcher.wants("state"):
            await call.send(Noted("state", {"state": services.state}))
        if watcher.wants("queue"):
            for name, lane in services.scheduler.lanes.items():
                await call.send(Noted("queue", queue_news(name, lane.turns)))
        async for kind, news in watcher:
            await call.send(Noted(kind, news))
    return {}


def queue_news(model: str, turns: Turns) -> dict[str, Any]:
    """Who has the turn and who waits, the next one first."""
    return {
        "model": model,
        "running": _told(turns.running) if turns.running else None,
        "waiting": [_told(ticket) for ticket in turns.order()],
    }


def _told(ticket: Ticket) -> dict[str, Any]:
    return {"ticket": ticket.id, "priority": ticket.priority.name.lower()}


def heat(board: Board) -> dict[str, Any]:
    """What shows that a board is hot, and that it has become slower."""
    return {
        "celsius": {one.name: round(one.celsius) for one in board.temperatures},
        "hertz": {clock.name: clock.hertz for clock in board.clocks if clock.hertz},
    }


async def _feel(watcher: Watcher) -> None:
    before: Mapping[str, Any] | None = None
    while True:
        now = heat(await asyncio.to_thread(read_board))
        if now != before:
            watcher.hear(("thermal", now))
            before = now
        await asyncio.sleep(BOARD_SECONDS)


@contextmanager
def _overhearing(watcher: Watcher, level: str) -> Iterator[None]:
    """Hand on what is logged, from whichever thread."""
    handler = _Overhearing(watcher, asyncio.get_running_loop())
    handler.setLevel(level.upper())
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


class _Overhearing(logging.Handler):
    def __init__(self, watcher: Watcher, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._watcher, self._loop = watcher, loop

    def emit(self, record: logging.LogRecord) -> None:
        """One line, with the traceback where it has one."""
        news = {
            "level": record.levelname.lower(),
            "room": record.name,
            "message": self.format(record)[:LOG_CHARACTERS_MAX],
        }
        self._loop.call_soon_threadsafe(self._watcher.hear, ("log", news))
