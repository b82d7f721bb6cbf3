"""One client: its events become errands, and their replies events.

Transcripts are answered one after the other. On a Unix socket the end of input is no more than
that; over TCP the client is gone as far as anybody can know. That one leaves after `handled` is
usual.
"""

import asyncio
import logging
import secrets
import socket
from collections.abc import Sequence

from rkllmd.errors import Code, RequestError, RkllmdError
from rkllmd.operations.call import Caller
from rkllmd.protocol.messages import Chat, Prefill
from rkllmd.transport.listen import peer_of
from rkllmd.transport.server import Server
from rkllmd.transport.visit import Bounds, Visit
from rkllmd.transport.wyoming.access import Network, is_let_in
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

HEARD_CHARACTERS_MAX = 65_536
"""What is longer is not prefilled while it is being said."""

logger = logging.getLogger(__name__)


class Visitor(Visit[Event | RequestError]):
    """One connection."""

    def __init__(self, server: Server, bounds: Bounds, networks: Sequence[Network]) -> None:
        """`networks` may come over TCP, besides this machine."""
        super().__init__(server, bounds)
        self._networks = networks
        self._reader = EventReader()
        self._answering = asyncio.Lock()
        self._own_session = f"wyoming-{secrets.token_hex(8)}"
        self._model: str | None = None
        self._beginning = TranscriptStart()
        self._heard = ""
        """What somebody said since then."""

    def meet(self, transport: asyncio.Transport) -> Caller:
        """A process of this machine, or an address."""
        sock = transport.get_extra_info("socket")
        if sock.family == socket.AF_UNIX:
            peer = peer_of(sock)
            return Caller("wyoming", f"uid {peer.uid}", peer.pid, peer.uid, peer.gid)
        self.leaves_with_eof = True
        name = transport.get_extra_info("peername")
        caller = Caller("wyoming", f"address {name[0] if name else 'unknown'}")
        self.is_welcome = is_let_in(name, self._networks)
        if not self.is_welcome:
            logger.warning("refused, not in wyoming.networks: %s", caller.user)
        return caller

    def read(self, data: bytes) -> list[Event | RequestError]:
        """Its events."""
        return self._reader.feed(data)

    def take(self, event: Event | RequestError) -> None:
        """Begin what it asks for, or tell what is wrong with it."""
        if isinstance(event, RequestError):
            self.refuse_all(event)
            return
        try:
            self._understand(event)
        except RequestError as error:
            self.tell(self.refusal(error))

    def refusal(self, error: RkllmdError) -> bytes:
        """In the language that is being spoken."""
        return not_handled(error, self._beginning.language)

    def _understand(self, event: Event) -> None:
        match event.type:
            case "ping":
                self.tell(encode("pong", {"text": understand(Ping, event).text}))
            case "describe":
                self.begin(Description())
            case "select-program":
                self._model = understand(SelectProgram, event).name
            case "transcript-start":
                self._beginning, self._heard = understand(TranscriptStart, event), ""
                self._guess()
            case "transcript-chunk":
                self._heard += understand(TranscriptChunk, event).text
                self._guess()
            case "transcript":
                self._ask(understand(Transcript, event))
            case "recognize":
                context = understand(Transcript, event).context
                self.tell(encode("not-recognized", {"context": context} if context else {}))
            case "user-event":
                self._do(understand(UserEvent, event))

    def _guess(self) -> None:
        """Have computed what a coming transcript will need, as far as it is known."""
        start = self._beginning
        session = session_of(start.context) or self._own_session
        if len(self._heard) > HEARD_CHARACTERS_MAX:
            return
        text = self._heard if self._heard.strip() else None
        prefill = Prefill(
            text=text, session=session, model=self._model, language=start.language or None
        )
        self.begin(Errand(prefill))

    def _ask(self, asked: Transcript) -> None:
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
            self.begin(answer, in_turn=self._answering)
        else:
            nothing = RequestError(Code.BAD_REQUEST, "text: found no words, allowed: some")
            self.tell(answer.fail(nothing))

    def _do(self, event: UserEvent) -> None:
        if event.name not in DEEDS:
            return
        session = session_of(event.context)
        if session is None and event.name != "rkllmd.cancel":
            session = self._own_session
        self.begin(Deed(event.name, event.data, session, event.context or {}))
