"""The order of a session's turns: each request sees what those before it have left.

A voice that interrupts sends `cancel`, `session.truncate` and the next `chat` in one breath, and
two rooms may share a session. What goes on with a conversation, or changes it, therefore takes its
place when it arrives, and waits there until everything before it in the same session has ended.
Requests of other sessions, and those that only look, wait for nothing here.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rkllmd.operations.call import Call
from rkllmd.protocol.messages import Queued


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request stands."""

    before: tuple[asyncio.Event, ...] = ()
    """One for each request that was there first; set when it has ended."""

    async def reached(self, call: Call) -> None:
        """Wait until all before have ended."""
        open_before = [ended for ended in self.before if not ended.is_set()]
        if open_before:
            await call.send(Queued(len(open_before), None))
        for ended in open_before:
            await call.stop.guard(ended.wait())


class Order:
    """The places in all sessions."""

    def __init__(self) -> None:
        self._there: dict[str, list[asyncio.Event]] = {}

    def behind(self, session: str | None) -> Place:
        """The place of a request that nobody has to wait for."""
        return Place(tuple(self._there.get(session, ()))) if session is not None else Place()

    @contextmanager
    def place(self, session: str | None) -> Iterator[Place]:
        """The place of a request that later ones wait for, until this is left."""
        place = self.behind(session)
        if session is None:
            yield place
            return
        ended = asyncio.Event()
        there = self._there.setdefault(session, [])
        there.append(ended)
        try:
            yield place
        finally:
            ended.set()
            there.remove(ended)
            if not there:
                del self._there[session]
