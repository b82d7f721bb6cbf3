"""The operations that are open for a server's clients, and how they end when it leaves."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from rkllmd.config.settings import Http
from rkllmd.errors import Code, StateError
from rkllmd.operations.call import Call, Handler


@dataclass(slots=True)
class Work:
    """That of one server."""

    settings: Http
    handler: Handler
    is_leaving: bool = False
    _open: set[tuple[Call, "asyncio.Task[Any]"]] = field(default_factory=set)

    def check_open(self) -> None:
        """Refuse new work while leaving."""
        if self.is_leaving:
            raise StateError(Code.SHUTTING_DOWN, "the service is leaving")

    def opened(self, call: Call, task: "asyncio.Task[Any]") -> None:
        """An operation runs."""
        self._open.add((call, task))

    def ended(self, call: Call, task: "asyncio.Task[Any]") -> None:
        """It has ended."""
        self._open.discard((call, task))

    async def end(self, drain_s: float, grace_s: float) -> None:
        """Let it go on for a while, then cancel it, then end it by force."""
        await self._wait(drain_s)
        for call, _ in self._open:
            call.cancel()
        await self._wait(grace_s)
        for _, task in self._open:
            task.cancel()

    async def _wait(self, seconds: float) -> None:
        tasks = [task for _, task in self._open]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
