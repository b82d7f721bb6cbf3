"""Calls to one worker over the parent's end of its socket.

Frames are taken as soon as they come and wait in their call, bounded by what a run may generate:
no client can make a worker wait. Everything a worker says is checked here; what is not the protocol
is reported once, and the worker's owner kills it. When the worker is gone, `lose` fails every open
call and all later ones with the reason.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from rkllmd.errors import Code, RequestError, RkllmdError, from_code
from rkllmd.runs import Prompt, RunStats
from rkllmd.worker.ends import EndKind
from rkllmd.worker.frames import (
    AT_ONCE,
    PROTOCOL,
    STOPPABLE,
    Frame,
    FrameError,
    FrameReader,
    encode,
)
from rkllmd.worker.watchdog import Watchdog

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Piece:
    """The next text of an answer."""

    text: str


@dataclass(frozen=True, slots=True)
class PrefillProgress:
    """How much of what has to be computed is computed; of a load, in the engine's own measure."""

    done: int
    total: int


OnKill = Callable[[EndKind, str], None]


class Call(Generic[T]):
    """One call: iterate over what comes before its end, then, or at once, await its result.

    Cancelling the task that waits for a call cancels the call; the channel stays usable.
    """

    def __init__(self, op: str, read: Callable[[Frame], T], cancel: Callable[[bool], None]) -> None:
        self._cancel = cancel
        self.held: Prompt | None = None
        """What the engine held at the call's end; until then, what it will hold if all goes well
        and it cannot say so itself."""
        self.op = op
        self._read = read
        self._left = False
        self._result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._coming: deque[Piece | PrefillProgress] = deque()
        self._moved = asyncio.Event()

    def cancel(self, *, gently: bool = False) -> None:
        """Ask the engine to stop; the call then ends by itself, or its worker is replaced.

        `gently` stops an answer where no character is cut.
        """
        self._cancel(gently)

    @property
    def ended(self) -> bool:
        """Whether the engine is done with it."""
        return self._result.done()

    @property
    def succeeded(self) -> bool:
        """Whether it has a result."""
        return self.ended and self._result.exception() is None

    @property
    def result(self) -> T:
        """Its result; only once it has ended."""
        return self._result.result()

    def __await__(self) -> Generator[Any, None, T]:
        return self._wait().__await__()

    async def _wait(self) -> T:
        try:
            return await asyncio.shield(self._result)
        except asyncio.CancelledError:
            self.cancel()
            raise

    def __aiter__(self) -> AsyncIterator[Piece | PrefillProgress]:
        return self

    async def __anext__(self) -> Piece | PrefillProgress:
        while not (self._coming or self.ended or self._left):
            self._moved.clear()
            try:
                await self._moved.wait()
            except asyncio.CancelledError:
                self.cancel()
                raise
        if not self._left:
            if self._coming:
                return self._coming.popleft()
            self._result.result()
        raise StopAsyncIteration

    def leave(self) -> None:
        """End the iteration now, wherever the engine is."""
        self._left = True
        self._moved.set()

    def when_ended(self, callback: Callable[[], None]) -> None:
        """Be called when the engine is done with it, however it ended."""
        self._result.add_done_callback(lambda _: callback())

    def on_frame(self, frame: Frame) -> None:
        """Take what the worker says."""
        match frame.header.get("event"):
            case "piece":
                self._coming.append(Piece(frame.text()))
            case "progress":
                progress = PrefillProgress(frame.count("done"), frame.count("total"))
                self._coming.append(progress)
            case "ok" | "done":
                self._result.set_result(self._read(frame))
            case "error":
                details = frame.header.get("details")
                details = details if isinstance(details, dict) else {}
                self.fail(from_code(frame.word("code"), frame.word("message"), details))
            case _:
                raise FrameError(f"an unknown event in answer to {self.op}")
        self._moved.set()

    def fail(self, error: RkllmdError) -> None:
        """End it with an error."""
        self._result.set_exception(error)
        self._result.exception()  # Nobody has to look at it.
        self._moved.set()


Run = Call[RunStats]


class Channel(asyncio.Protocol):
    """The parent's end: many calls at a time, told apart by their numbers."""

    def __init__(self, hang_s: float, cancel_s: float, on_kill: OnKill) -> None:
        loop = asyncio.get_running_loop()
        self.hello: asyncio.Future[Frame] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self.held: Prompt | None = None
        self._cancel_s = cancel_s
        self._on_kill = on_kill
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._calls: dict[int, Call[Any]] = {}
        self._overdue: dict[int, asyncio.TimerHandle] = {}
        self._numbers = itertools.count(1)
        self._lost: RkllmdError | None = None
        silence = f"a run made no progress for {hang_s:g} s"
        # The engine and the worker's reader can hang each for itself.
        self._watchdogs = {
            at_once: Watchdog(hang_s, lambda: on_kill(EndKind.SILENCE, silence))
            for at_once in (False, True)
        }

    def call(
        self, op: str, read: Callable[[Frame], T], payload: bytes = b"", **members: Any
    ) -> Call[T]:
        """Send a call; `read` makes its result of the final frame."""
        if self._lost:
            raise self._lost
        assert self._transport, "a call before the connection was made"
        number = next(self._numbers)
        try:
            data = encode({"call": number, "op": op, **members}, payload)
        except FrameError as error:  # only what a client wrote can be so long
            raise RequestError(
                Code.BAD_REQUEST,
                f"the text, stop, format and tools are too long to be run: {error}",
            ) from error
        call = Call(op, read, lambda gently: self._cancel(number, gently=gently))
        self._calls[number] = call
        if watchdog := self._watchdog(call):
            watchdog.opened()
        self._transport.write(data)
        return call

    @property
    def lost(self) -> bool:
        """Whether its worker is gone."""
        return self._lost is not None

    def lose(self, error: RkllmdError) -> None:
        """The worker is gone: tell everybody who waits for it, and who comes later."""
        self._lost = error
        self.held = None
        for number in list(self._calls):
            self._forget(number).fail(error)
        if not self.hello.done():
            self.hello.set_exception(error)
            self.hello.exception()  # Nobody has to look at it.
        if self._transport:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio has the socket."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """The worker said something."""
        try:
            for frame in self._reader.feed(data):
                self._take(frame)
        except FrameError as error:
            self._on_kill(EndKind.GARBAGE, f"it broke the protocol: {error}")
            assert self._transport
            self._transport.abort()

    def connection_lost(self, _exc: Exception | None) -> None:
        """The worker will say no more."""
        if not self.closed.done():
            self.closed.set_result(None)

    def _take(self, frame: Frame) -> None:
        if not self.hello.done():
            if frame.header.get("event") != "hello" or frame.count("protocol") != PROTOCOL:
                raise FrameError(f"its first frame is no hello of protocol {PROTOCOL}")
            self.hello.set_result(frame)
            return
        number = frame.count("call")
        call = self._calls.get(number)
        if call is None:
            raise FrameError(f"an answer to call {number}, which is not open")
        if watchdog := self._watchdog(call):
            watchdog.moved()
        if "held" in frame.header:
            is_expected = frame.header["held"] is None and frame.header.get("event") == "ok"
            self.held = call.held = call.held if is_expected else frame.held()
        call.on_frame(frame)
        if call.ended:
            self._forget(number)

    def _cancel(self, number: int, *, gently: bool) -> None:
        call = self._calls.get(number)
        if not call or call.op not in STOPPABLE:
            return
        self.call("cancel", lambda _: None, target=number, gently=gently)
        if number not in self._overdue:
            why = f"a {call.op} did not stop within {self._cancel_s:g} s"
            self._overdue[number] = asyncio.get_running_loop().call_later(
                self._cancel_s, self._on_kill, EndKind.OVERDUE, why
            )

    def _forget(self, number: int) -> Call[Any]:
        call = self._calls.pop(number)
        if watchdog := self._watchdog(call):
            watchdog.closed()
        if timer := self._overdue.pop(number, None):
            timer.cancel()
        return call

    def _watchdog(self, call: Call[Any]) -> Watchdog | None:
        """Loading has a deadline of its own, and may be silent until then."""
        return None if call.op == "load" else self._watchdogs[call.op in AT_ONCE]
