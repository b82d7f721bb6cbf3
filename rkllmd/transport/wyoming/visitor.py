"""One client: its events become errands, and their replies events.

Events are taken in the order they come, a few at a turn of the loop. Each errand is a task;
transcripts are answered one after the other. Reading goes on meanwhile, unless the outbox is full.
How it ends:

    an errand      told once, whatever its operation does
    end of input   on a Unix socket no more events: finish what is open, close;
                   over TCP the client is gone as far as anybody can know: the same, and cancel
    gone           hang-up, reset or write error: cancel everything. After `handled` that is usual
    slow           full outbox without progress for `stall_s`: as gone
    no events      told, open errands finish, the rest of the input is thrown away, close
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections import deque
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, cast

from rkllmd.errors import Code, InternalError, RequestError, RkllmdError, StateError
from rkllmd.operations.call import Call, Caller, Connection
from rkllmd.protocol.messages import Chat, Done, Prefill
from rkllmd.transport.listen import peer_of
from rkllmd.transport.outbox import Outbox
from rkllmd.transport.server import LINGER_SECONDS
from rkllmd.transport.wyoming.access import is_let_in
from rkllmd.transport.wyoming.asked import (
    Ping,
    SelectProgram,
    Transcript,
    TranscriptChunk,
    TranscriptStart,
    UserEvent,
    session_of,
    understand,
)
from rkllmd.transport.wyoming.errands import DEEDS, Answer, Deed, Description, Errand, not_handled
from rkllmd.transport.wyoming.frames import Event, EventReader, encode

if TYPE_CHECKING:
    from rkllmd.transport.wyoming.server import WyomingServer

EVENTS_PER_TURN = 16
ERRANDS_MAX = 32
OUTBOX_BYTES_MAX = 1_048_576
HEARD_CHARACTERS_MAX = 65_536
"""What is longer is not prefilled while it is being said."""

logger = logging.getLogger(__name__)


class Visitor(asyncio.Protocol):
    """One connection, from its accepting to the end of its last errand."""

    def __init__(self, server: WyomingServer) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._reader = EventReader()
        self._backlog: deque[Event | RequestError] = deque()
        self._answering = asyncio.Lock()
        self._own_session = f"wyoming-{secrets.token_hex(8)}"
        self._model: str | None = None
        self._beginning = TranscriptStart()
        self._heard = ""
        """What somebody said since then."""
        self._timer: asyncio.TimerHandle | None = None
        self._is_taking = False  # `_take_events` will be called.
        self._is_deaf = False  # What comes now is thrown away.
        self._has_ended = False  # The client will send no more.
        self._has_hung_up = False
        self._is_finishing = False  # Everything is told.
        self._is_lost = False
        self._is_cut = False  # The service leaves, and waits no longer for answers.

    # What asyncio tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        settings = self._server.settings
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        self._descriptor = sock.fileno()
        self._is_tcp = sock.family != socket.AF_UNIX
        name = transport.get_extra_info("peername")
        self._connection = Connection(_caller(sock, name))
        self._outbox = Outbox(self._transport, OUTBOX_BYTES_MAX, settings.stall_s, self._on_stalled)
        assert self._server.hangups is not None, "the server is entered before it listens"
        self._server.hangups.add(self._descriptor, self._on_hangup)
        is_one_too_many = self._server.connections >= settings.connections_max
        self._server.on_connected(self)
        if self._is_tcp and not is_let_in(name, self._server.networks):
            logger.warning("refused, not in wyoming.networks: %s", self._connection.caller.user)
            self.abort()
        elif self._server.is_draining:
            self._refuse_all(_leaving())
            self.finish()
        elif is_one_too_many:
            limit = settings.connections_max
            self._refuse_all(StateError(Code.QUEUE_FULL, f"{limit} clients are connected"))
            self._finish_if_over()

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        if not self._is_deaf:
            self._backlog += self._reader.feed(data)
            self._take_events()

    def eof_received(self) -> bool:
        """The client sends no more; True keeps our direction open."""
        self._has_ended = True
        if self._is_finishing:
            return False
        self._take_events()
        if self._is_tcp:
            self.cancel_calls()
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
        self._take_events()

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

    # Events become errands.

    def _take_events(self) -> None:
        """A few events now and the rest at the next turn, so that other clients have theirs."""
        if self._is_taking:
            return
        for _ in range(EVENTS_PER_TURN):
            if not self._backlog or self._outbox.is_full or self._is_lost:
                break
            self._take(self._backlog.popleft())
        if self._backlog and not self._outbox.is_full:
            self._is_taking = True
            self._loop.call_soon(self._take_more_events)
        self._regulate_reading()
        self._finish_if_over()

    def _take_more_events(self) -> None:
        self._is_taking = False
        self._take_events()

    def _take(self, event: Event | RequestError) -> None:
        if isinstance(event, RequestError):
            self._refuse_all(event)
            return
        try:
            self._understand(event)
        except RequestError as error:
            self._outbox.put(not_handled(error, self._beginning.language))

    def _understand(self, event: Event) -> None:
        match event.type:
            case "ping":
                self._outbox.put(encode("pong", {"text": understand(Ping, event).text}))
            case "describe":
                self._send_out(Description())
            case "select-program":
                self._model = understand(SelectProgram, event).name
            case "transcript-start":
                self._beginning, self._heard = understand(TranscriptStart, event), ""
                self._guess()
            case "transcript-chunk":
                self._heard += understand(TranscriptChunk, event).text
                self._guess()
            case "transcript":
                self._answer(understand(Transcript, event))
            case "recognize":
                context = understand(Transcript, event).context
                self._outbox.put(encode("not-recognized", {"context": context} if context else {}))
            case "user-event":
                self._do(understand(UserEvent, event))

    def _guess(self) -> None:
        """Have computed what a coming transcript will need, as far as it is known."""
        start = self._beginning
        session = session_of(start.context) or self._own_session
        if len(self._heard) > HEARD_CHARACTERS_MAX or len(self.tasks) >= ERRANDS_MAX:
            return
        text = self._heard if self._heard.strip() else None
        prefill = Prefill(
            text=text, session=session, model=self._model, language=start.language or None
        )
        self._send_out(Errand(prefill))

    def _answer(self, asked: Transcript) -> None:
        self._beginning, self._heard = TranscriptStart(), ""
        language = asked.language or None
        session = session_of(asked.context) or self._own_session
        chat = Chat(
            text=asked.text,
            session=session,
            model=self._model,
            language=language,
            speech=True,
            priority="voice",
        )
        answer = Answer(chat, asked.context)
        if asked.text.strip():
            self._send_out(answer)
        else:
            nothing = RequestError(Code.BAD_REQUEST, "text: found no words, allowed: some")
            self._outbox.put(answer.fail(nothing))

    def _do(self, event: UserEvent) -> None:
        if event.name not in DEEDS:
            return
        session = session_of(event.context)
        if session is None and event.name != "rkllmd.cancel":
            session = self._own_session
        self._send_out(Deed(event.name, event.data, session, event.context or {}))

    def _send_out(self, errand: Errand) -> None:
        if self._server.is_draining:
            self._outbox.put(errand.fail(_leaving()))
            return
        if len(self.tasks) >= ERRANDS_MAX:
            full = StateError(
                Code.QUEUE_FULL, f"{ERRANDS_MAX} events of this connection are not answered yet"
            )
            self._outbox.put(errand.fail(full))
            return
        call = Call(self._connection, lambda said: self._tell(errand.hear(said)))
        self._connection.opened(call)
        if self._has_ended and self._is_tcp:
            call.cancel()
        name = f"wyoming {errand.request.op}"
        task = self._loop.create_task(self._serve(errand, call), name=name)
        self.tasks.add(task)
        task.add_done_callback(self._on_served)

    # Errands become events.

    async def _serve(self, errand: Errand, call: Call) -> None:
        final = None
        try:
            final = await self._reply_to(errand, call)
            await self._outbox.room()
        except StateError:
            pass  # The client is gone; nobody waits for the reply.
        finally:
            self._connection.ended(call)
            self._outbox.put(errand.fail(_leaving()) if final is None else final)

    async def _reply_to(self, errand: Errand, call: Call) -> bytes:
        """What is told at the end, unless this task is cancelled."""
        in_turn = self._answering if isinstance(errand, Answer) else nullcontext()
        try:
            async with in_turn:
                reply = await self._server.handler(errand.request, call)
        except RkllmdError as error:
            if error.code is Code.INTERNAL:
                logger.exception("%s", errand.request.op)
            return errand.fail(error)
        except Exception as bug:
            logger.exception("%s: a mistake of ours", errand.request.op)
            what = f"a mistake of the service ({type(bug).__name__})"
            return errand.fail(InternalError(Code.INTERNAL, what))
        if self._is_cut and isinstance(reply, Done) and reply.reason == "cancelled":
            return errand.fail(_leaving())
        return errand.succeed(reply)

    async def _tell(self, events: bytes) -> None:
        """To a client that is gone nothing: its calls are cancelled, and end by themselves, so that
        the conversation remembers what was said."""
        with suppress(StateError):
            await self._outbox.room()
            self._outbox.put(events)

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
        """Close when all is told and nothing can follow.

        The input of a client that is not heard any more is thrown away for a while: to close under
        its hands would give it a broken pipe in place of the reason.
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
        self._outbox.put(not_handled(error, self._beginning.language))

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
        logger.info("does not read, closing: %s", self._connection.caller)
        self.abort()

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _caller(sock: socket.socket, peername: Any) -> Caller:
    if sock.family == socket.AF_UNIX:
        peer = peer_of(sock)
        return Caller("wyoming", f"uid {peer.uid}", peer.pid, peer.uid, peer.gid)
    return Caller("wyoming", f"address {peername[0] if peername else 'unknown'}")


def _leaving() -> StateError:
    return StateError(Code.SHUTTING_DOWN, "the service is leaving")
