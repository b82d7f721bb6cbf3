"""One visit of a client on a stream socket: the life of its connection, whatever it speaks there.

What it sends comes as items (lines, events). They are taken in the order they come, a few at a turn
of the loop, and each request that begins runs in a task of its own, so that many are open and
interleave. Nothing is read while items are left over or the outbox is full. How things end:

    a request     told once, whatever its handler does (the cases are in operations/call.py)
    end of input  no more requests: finish those that are open, flush, close
    gone          hang-up or write error: cancel every request, also while nothing is written
    slow          full outbox without progress for `stall_s`: as gone; told first if `tells_stalled`
    no items      told; open requests finish, the rest of the input is thrown away, close

A call that was cancelled because its client is gone has the server's `grace_s` to end; then its
task is cancelled. A protocol derives its own visit, and says in it how bytes become items, what an
item asks for, and how what is told becomes bytes.
"""

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar, cast

from rkllmd.errors import Code, InternalError, RequestError, RkllmdError, StateError
from rkllmd.operations.call import Call, Caller, Connection, Reply
from rkllmd.protocol.codec import NO_ID, RequestId
from rkllmd.protocol.messages import Done, Event, Request
from rkllmd.transport.outbox import Outbox
from rkllmd.transport.server import LINGER_SECONDS, Server

ITEMS_PER_TURN = 16

Item = TypeVar("Item")
_Turn = AbstractAsyncContextManager[Any]
_AT_ONCE: _Turn = nullcontext()

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much clients may have."""

    connections_max: int
    requests_max: int
    """Open ones of one connection."""
    outbox_bytes_max: int
    stall_s: float
    """How long a full outbox may stay as it is."""


class Asked(Protocol):
    """What a client asks for, and in which bytes it is told what comes of it."""

    @property
    def request(self) -> Request:
        """For the operations."""

    def hear(self, event: Event) -> bytes:
        """Told before the end."""

    def succeed(self, reply: Reply) -> bytes:
        """Told at the end."""

    def fail(self, error: RkllmdError) -> bytes:
        """Told when there is no answer."""


class Visit(asyncio.Protocol, ABC, Generic[Item]):
    """One connection, from its accepting to the end of its last request."""

    is_welcome = True
    """Whether it may come; who may not is told nothing."""
    leaves_with_eof = False
    """Whether the end of its input means that nobody reads the answers either."""
    tells_stalled = False
    """Whether one that does not read is told so, should it wake up."""

    def __init__(self, server: Server, bounds: Bounds) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self._server = server
        self._bounds = bounds
        self._loop = asyncio.get_running_loop()
        self._backlog: deque[Item] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_taking = False  # `_take_items` will be called.
        self._is_deaf = False  # What comes now is thrown away.
        self._has_ended = False  # The client will send no more.
        self._has_hung_up = False
        self._is_finishing = False  # Everything is told.
        self._is_lost = False
        self._is_cut = False  # The service leaves, and waits no longer for answers.

    # What a protocol says.

    @abstractmethod
    def meet(self, transport: asyncio.Transport) -> Caller:
        """Who connects; what is true of this one only is set here."""

    @abstractmethod
    def read(self, data: bytes) -> Iterable[Item]:
        """The items that are complete now."""

    def read_rest(self) -> Iterable[Item]:
        """The items that the end of the input completes."""
        return ()

    @abstractmethod
    def take(self, item: Item) -> None:
        """Do what an item wants: `tell`, `begin`, or `refuse_all`."""

    @abstractmethod
    def refusal(self, error: RkllmdError) -> bytes:
        """How a client is told why it is not heard any more."""

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        bounds = self._bounds
        self._transport = cast("asyncio.Transport", transport)
        self._descriptor = transport.get_extra_info("socket").fileno()
        self._connection = Connection(self.meet(self._transport))
        self._outbox = Outbox(
            self._transport, bounds.outbox_bytes_max, bounds.stall_s, self._on_stalled
        )
        assert self._server.hangups is not None, "the server is entered before it listens"
        self._server.hangups.add(self._descriptor, self._on_hangup)
        is_one_too_many = self._server.connections >= bounds.connections_max
        self._server.on_connected(self)
        logger.debug("connected: %s", self._connection.caller)
        if not self.is_welcome:
            self.abort()
        elif self._server.is_draining:
            self.refuse_all(_leaving())
            self.finish()
        elif is_one_too_many:
            limit = bounds.connections_max
            self.refuse_all(
                StateError(Code.QUEUE_FULL, f"{limit} clients are connected", limit=limit)
            )
            self._finish_if_over()

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        if not self._is_deaf:
            self._backlog += self.read(data)
            self._take_items()

    def eof_received(self) -> bool:
        """The client sends no more; True keeps our direction open."""
        self._has_ended = True
        if self._is_finishing:
            return False
        if self.leaves_with_eof:
            self.cancel_calls()
        if not self._is_deaf:
            self._backlog += self.read_rest()
        self._take_items()
        self._leave_if_gone()
        return True

    def pause_writing(self) -> None:
        """The outbox is full."""
        self._outbox.pause()
        self._regulate_reading()
        self._leave_if_gone()

    def resume_writing(self) -> None:
        """The outbox has room."""
        self._outbox.resume()
        self._take_items()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing can be read or written any more."""
        self._is_lost = True
        assert self._server.hangups is not None, "it lives as long as the connections"
        self._server.hangups.remove(self._descriptor)
        self._outbox.lose()
        self._backlog.clear()
        self._forget_timer()
        logger.debug("gone: %s (%s)", self._connection.caller, exc or "closed")
        if self.tasks:
            self.cancel_calls()
            self._timer = self._loop.call_later(self._server.grace_s, self.cancel_tasks)
        else:
            self._server.on_gone(self)

    # Items become requests.

    def _take_items(self) -> None:
        """A few items now and the rest at the next turn, so that other clients have theirs."""
        if self._is_taking:
            return
        for _ in range(ITEMS_PER_TURN):
            if not self._backlog or self._outbox.is_full or self._is_lost:
                break
            self.take(self._backlog.popleft())
        if self._backlog and not self._outbox.is_full:
            self._is_taking = True
            self._loop.call_soon(self._take_more_items)
        self._regulate_reading()
        self._finish_if_over()

    def _take_more_items(self) -> None:
        self._is_taking = False
        self._take_items()

    def begin(self, asked: Asked, request_id: RequestId = NO_ID, in_turn: _Turn = _AT_ONCE) -> None:
        """Start a task for a request, or tell why not. `in_turn` is entered while it runs."""
        try:
            self._check_open(request_id)
        except RkllmdError as error:
            self.tell(asked.fail(error))
            return
        call = Call(
            self._connection, lambda event: self._deliver(call, asked, event), request_id.value
        )
        self._connection.opened(call)
        if self._has_ended and self.leaves_with_eof:
            call.cancel()
        task = self._loop.create_task(
            self._serve(asked, call, in_turn), name=f"{asked.request.op} {request_id.text}"
        )
        self.tasks.add(task)
        task.add_done_callback(self._on_served)

    def _check_open(self, request_id: RequestId) -> None:
        """Raise why a request cannot begin."""
        if self._server.is_draining:
            raise _leaving()
        limit = self._bounds.requests_max
        if len(self.tasks) >= limit:
            raise StateError(
                Code.QUEUE_FULL, f"{limit} requests of this connection are open", limit=limit
            )
        if self._connection.find(request_id.value):
            raise RequestError(
                Code.BAD_REQUEST,
                f"id: found {request_id.text}, which is open, allowed: one that is not",
                member="id",
            )

    # What requests say becomes bytes.

    def tell(self, told: bytes) -> None:
        """Send it, whether the outbox has room or not."""
        self._outbox.put(told)

    async def _serve(self, asked: Asked, call: Call, in_turn: _Turn) -> None:
        final = None
        try:
            final = await self._answer(asked, call, in_turn)
            await self._outbox.room()
        except StateError:
            pass  # The client is gone; nobody waits for it.
        finally:
            self._connection.ended(call)
            self.tell(asked.fail(_ended_by_force()) if final is None else final)

    async def _answer(self, asked: Asked, call: Call, in_turn: _Turn) -> bytes:
        """What is told at the end, unless this task is cancelled."""
        try:
            async with in_turn:
                reply = await self._server.handler(asked.request, call)
            if self._is_cut and isinstance(reply, Done) and reply.reason == "cancelled":
                return asked.fail(_leaving())
            return asked.succeed(reply)
        except RkllmdError as error:
            if error.code is Code.INTERNAL:
                logger.exception("%s", asked.request.op)
            return asked.fail(error)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return self._on_bug(asked, error)
        except Exception as error:  # noqa: BLE001 - every request gets its end
            return self._on_bug(asked, error)

    def _on_bug(self, asked: Asked, bug: BaseException) -> bytes:
        logger.error("%s: a mistake of ours", asked.request.op, exc_info=bug)
        self._loop.call_soon(self._server.on_bug, bug)
        what = f"a mistake of the service ({type(bug).__name__})"
        return asked.fail(InternalError(Code.INTERNAL, what))

    async def _deliver(self, call: Call, asked: Asked, event: Event) -> None:
        try:
            await self._outbox.room()
        except StateError:
            if not self._is_lost:
                raise
            return  # The call is cancelled; its end is to be that of a cancel, and remembered.
        if not self._connection.is_open(call):
            raise InternalError(Code.INTERNAL, "an event after the end of its request")
        self._outbox.put(asked.hear(event))

    def _on_served(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not self._is_lost:
            self._finish_if_over()
        elif not self.tasks:
            self._forget_timer()
            self._server.on_gone(self)

    # How it ends.

    def cancel_calls(self) -> None:
        """Ask every operation to end."""
        for call in self._connection.open_calls():
            call.cancel()

    def cut_calls(self) -> None:
        """Ask every operation to end because the service leaves."""
        self._is_cut = True
        self.cancel_calls()

    def cancel_tasks(self) -> None:
        """End every operation."""
        for task in self.tasks:
            task.cancel()

    def finish(self) -> None:
        """Send what is left and close; nothing more is read or answered."""
        if self._is_lost:
            self._server.on_gone(self)
            return
        self._is_deaf = self._is_finishing = True
        self._backlog.clear()
        self._outbox.finish()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def refuse_all(self, error: RkllmdError) -> None:
        """Say why this connection is not heard any more."""
        self._is_deaf = True
        self._backlog.clear()
        self.tell(self.refusal(error))

    def _finish_if_over(self) -> None:
        """Close when all is told and nothing can follow.

        A client that was told to stop may still be writing. To close under its hands would give it
        a broken pipe in place of the reason, so its input is thrown away for a while.
        """
        if self._backlog or self.tasks or self._is_finishing or self._is_lost:
            return
        if self._has_ended:
            self.finish()
        elif self._is_deaf:
            self._is_finishing = True
            self._transport.write_eof()
            self._timer = self._loop.call_later(LINGER_SECONDS, self.finish)

    def _regulate_reading(self) -> None:
        if self._has_ended or self._is_lost:
            return
        if self._is_deaf or not (self._backlog or self._outbox.is_full):
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _on_hangup(self) -> None:
        self._has_hung_up = True
        self._leave_if_gone()

    def _leave_if_gone(self) -> None:
        """What a client sent before it left is still read first, where it is read at all."""
        if self._has_hung_up and (self._has_ended or self._is_finishing or self._outbox.is_full):
            self.abort()

    def _on_stalled(self) -> None:
        """The outbox does not empty."""
        logger.info("does not read, closing: %s", self._connection.caller)
        if self._is_finishing or not self.tells_stalled:
            self.abort()
            return
        self._is_finishing = True
        seconds = self._bounds.stall_s
        self.refuse_all(
            StateError(Code.SLOW_CLIENT, f"nothing was read for {seconds:g} s", stall_s=seconds)
        )
        self._outbox.lose()
        self.cancel_calls()
        self._transport.close()
        self._timer = self._loop.call_later(LINGER_SECONDS, self.abort)

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _leaving() -> StateError:
    return StateError(Code.SHUTTING_DOWN, "the service is leaving")


def _ended_by_force() -> StateError:
    return StateError(Code.SHUTTING_DOWN, "the request did not end in time and was ended by force")
