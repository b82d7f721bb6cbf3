"""The one way to end a request early, whoever wants it ended and wherever it is just then."""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from enum import StrEnum
from typing import Any, TypeVar

T = TypeVar("T")


class StopReason(StrEnum):
    """Who wanted it."""

    CANCELLED = "cancelled"
    """The client, or its leaving."""
    DEADLINE = "deadline"
    """A time that was set for it."""
    GIVE_WAY = "give_way"
    """A request with a higher priority."""
    ENOUGH = "enough"
    """Whoever writes the answer down: it is as long as it was to be."""


class Stopped(Exception):
    """Raised where a request waits when it is stopped there."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason)
        self.reason = reason


class Stop:
    """Set once; the first reason counts. Whoever can be stopped subscribes while it can.

    A subscriber is called at once, in the same stretch of the loop, so that nothing more of the
    answer is sent after a cancel.
    """

    def __init__(self) -> None:
        self.reason: StopReason | None = None
        self.at = math.inf
        """When it was set, by the clock of the loop and of `time.monotonic`."""
        self._subscribers: list[Callable[[StopReason], None]] = []

    def set(self, reason: StopReason) -> None:
        """Stop."""
        if self.reason is not None:
            return
        self.reason, self.at = reason, time.monotonic()
        for subscriber in self._subscribers[:]:
            subscriber(reason)

    def subscribe(self, subscriber: Callable[[StopReason], None]) -> Callable[[], None]:
        """Be called when it is set (at once when it is); the result unsubscribes."""
        if self.reason is not None:
            subscriber(self.reason)
        self._subscribers.append(subscriber)
        return lambda: self._subscribers.remove(subscriber)

    async def guard(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something that may take long, and leave it with `Stopped` when this is set."""
        task = asyncio.ensure_future(work)
        forget = self.subscribe(lambda _: _leave(task))
        try:
            await asyncio.wait({task})
            self.check()
            return task.result()
        finally:
            forget()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    def is_set(self) -> bool:
        """Whether it is set."""
        return self.reason is not None

    async def wait(self) -> None:
        """Return when it is set."""
        there = asyncio.Event()
        forget = self.subscribe(lambda _: there.set())
        try:
            await there.wait()
        finally:
            forget()

    def child(self) -> "tuple[Stop, Callable[[], None]]":
        """A stop of its own for a part of the work, set with this one; and its unsubscribing."""
        part = Stop()
        return part, self.subscribe(part.set)

    def check(self) -> None:
        """Raise `Stopped` when it is set."""
        if self.reason is not None:
            raise Stopped(self.reason)


def _leave(task: "asyncio.Task[Any]") -> None:
    task.cancel()
