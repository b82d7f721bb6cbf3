"""One client on the Unix socket: its lines become requests, and their replies lines.

Lines are taken in the order they come, a few at a turn of the loop, and each request runs in a
task of its own, so that many are open and interleave. Nothing is read while lines are left over or
the outbox is full. How things end:

    a request      one final line, whatever its handler does (the cases are in operations/call.py)
    half-close     no more requests: finish those that are open, flush, close
    gone           hang-up or write error: cancel every request, also while nothing is written
    slow           full outbox without progress for `stall_s`: `slow_client`, then as gone
    line too long  told; open requests finish, the rest of the input is thrown away, close

A call that was cancelled because its client is gone has the server's `grace_s` to end; then its
task is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, cast

from rkllmd.errors import Code, InternalError, RequestError, RkllmdError, StateError
from rkllmd.operations.call import Call, Caller, Connection
from rkllmd.protocol.codec import (
    NO_ID,
    BadLine,
    Decoded,
    RequestId,
    decode_request,
    encode_error,
    encode_event,
    encode_ok,
)
from rkllmd.protocol.framing import FramingProblem, LineReader
from rkllmd.protocol.messages import Done, Event
from rkllmd.transport.listen import peer_of
from rkllmd.transport.outbox import Outbox
from rkllmd.transport.server import LINGER_SECONDS

if TYPE_CHECKING:
    from rkllmd.transport.lines import LinesServer

LINES_PER_TURN = 16

logger = logging.getLogger(__name__)


class Client(asyncio.Protocol):
    """One connection, from its accepting to the end of its last request."""

    def __init__(self, server: LinesServer) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._reader = LineReader(server.settings.line_bytes_max)
        self._backlog: deque[bytes | FramingProblem] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_taking = False  # `_take_lines` will be called.
        self._is_deaf = False  # What comes now is thrown away.
        self._has_ended = False  # The client will send no more.
        self._has_hung_up = False
        self._is_finishing = False  # Everything is answered.
        self._is_lost = False
        self._is_cut = False  # The service leaves, and waits no longer for answers.

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        settings = self._server.settings
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        self._descriptor = sock.fileno()
        peer = peer_of(sock)
        self._connection = Connection(
            Caller("socket", f"uid {peer.uid}", peer.pid, peer.uid, peer.gid)
        )
        self._outbox = Outbox(
            self._transport, settings.outbox_bytes_max, settings.stall_s, self._on_stalled
        )
        assert self._server.hangups is not None, "the server is entered before it listens"
        self._server.hangups.add(self._descriptor, self._on_hangup)
        is_one_too_many = self._server.connections >= settings.connections_max
        self._server.on_connected(self)
        logger.debug("connected: %s", self._connection.caller)
        if self._server.is_draining:
            self._refuse_all(_leaving())
            self.finish()
        elif is_one_too_many:
            limit = settings.connections_max
            self._refuse_all(
                StateError(Code.QUEUE_FULL, f"{limit} clients are connected", limit=limit)
            )
            self._finish_if_over()

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        if not self._is_deaf:
            self._backlog += self._reader.feed(data)
            self._take_lines()

    def eof_received(self) -> bool:
        """The client sends no more; True keeps our direction open."""
        self._has_ended = True
        if self._is_finishing:
            return False
        if not self._is_deaf:
            self._backlog += self._reader.finish()
        self._take_lines()
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
        self._take_lines()

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

    # Lines become requests.

    def _take_lines(self) -> None:
        """A few lines now and the rest at the next turn, so that other clients have theirs."""
        if self._is_taking:
            return
        for _ in range(LINES_PER_TURN):
            if not self._backlog or self._outbox.is_full or self._is_lost:
                break
            self._take(self._backlog.popleft())
        if self._backlog and not self._outbox.is_full:
            self._is_taking = True
            self._loop.call_soon(self._take_more_lines)
        self._regulate_reading()
        self._finish_if_over()

    def _take_more_lines(self) -> None:
        self._is_taking = False
        self._take_lines()

    def _take(self, line: bytes | FramingProblem) -> None:
        if isinstance(line, FramingProblem):
            limit = self._server.settings.line_bytes_max
            self._refuse_all(
                RequestError(Code.LINE_TOO_LONG, f"a line of more than {limit} bytes", limit=limit)
            )
            return
        try:
            decoded = decode_request(line)
        except BadLine as error:
            self._outbox.put(encode_error(error.id, error))
            return
        try:
            self._admit(decoded)
        except RkllmdError as error:
            self._outbox.put(encode_error(decoded.id, error))

    def _admit(self, decoded: Decoded) -> None:
        """Start the request, or raise why not."""
        if self._server.is_draining:
            raise _leaving()
        limit = self._server.settings.requests_max
        if len(self.tasks) >= limit:
            raise StateError(
                Code.QUEUE_FULL, f"{limit} requests of this connection are open", limit=limit
            )
        if self._connection.find(decoded.id.value):
            raise RequestError(
                Code.BAD_REQUEST,
                f"id: found {decoded.id.text}, which is open, allowed: one that is not",
                member="id",
            )
        call = Call(
            self._connection,
            lambda event: self._deliver(call, decoded.id, event),
            decoded.id.value,
        )
        self._connection.opened(call)
        task = self._loop.create_task(
            self._serve(decoded, call), name=f"{decoded.request.op} {decoded.id.text}"
        )
        self.tasks.add(task)
        task.add_done_callback(self._on_served)

    # Requests become lines.

    async def _serve(self, decoded: Decoded, call: Call) -> None:
        final = None
        try:
            final = await self._answer(decoded, call)
            await self._outbox.room()
        except StateError:
            pass  # The client is gone; nobody waits for the line.
        finally:
            self._connection.ended(call)
            self._outbox.put(final or encode_error(decoded.id, _ended_by_force()))

    async def _answer(self, decoded: Decoded, call: Call) -> bytes:
        """The final line, unless this task is cancelled."""
        try:
            reply = await self._server.handler(decoded.request, call)
            if not isinstance(reply, Done):
                return encode_ok(decoded.id, reply)
            if self._is_cut and reply.reason == "cancelled":
                return encode_error(decoded.id, _leaving())
            return encode_event(decoded.id, reply)
        except RkllmdError as error:
            if error.code is Code.INTERNAL:
                logger.exception("%s", decoded.request.op)
            return encode_error(decoded.id, error)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return self._on_bug(decoded, error)
        except Exception as error:  # noqa: BLE001 - every request gets its end
            return self._on_bug(decoded, error)

    def _on_bug(self, decoded: Decoded, bug: BaseException) -> bytes:
        logger.error("%s: a mistake of ours", decoded.request.op, exc_info=bug)
        self._loop.call_soon(self._server.on_bug, bug)
        return encode_error(
            decoded.id,
            InternalError(Code.INTERNAL, f"a mistake of the service ({type(bug).__name__})"),
        )

    async def _deliver(self, call: Call, request_id: RequestId, event: Event) -> None:
        try:
            await self._outbox.room()
        except StateError:
            if not self._is_lost:
                raise
            return  # The call is cancelled; its end is to be that of a cancel, and remembered.
        if not self._connection.is_open(call):
            raise InternalError(Code.INTERNAL, "an event after the end of its request")
        self._outbox.put(encode_event(request_id, event))

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

    def _finish_if_over(self) -> None:
        """Close when all is answered and nothing can follow.

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

    def _refuse_all(self, error: RkllmdError) -> None:
        """Say why this connection is not heard any more."""
        self._is_deaf = True
        self._backlog.clear()
        self._outbox.put(encode_error(NO_ID, error))

    def _regulate_reading(self) -> None:
        if self._has_ended:
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
        """The outbox does not empty. The reason is told all the same: the client may wake up."""
        logger.info("does not read, closing: %s", self._connection.caller)
        if self._is_finishing:
            self.abort()
            return
        self._is_finishing = True
        seconds = self._server.settings.stall_s
        self._refuse_all(
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
