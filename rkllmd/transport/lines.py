"""The Unix socket with JSON lines: each line is a request, and its replies are lines.

A client that does not read is told `slow_client` behind what it left, should it wake up.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from rkllmd.config.settings import Socket
from rkllmd.errors import Code, RequestError, RkllmdError
from rkllmd.operations.call import Caller, Handler, Reply
from rkllmd.protocol.codec import (
    NO_ID,
    BadLine,
    RequestId,
    decode_request,
    encode_error,
    encode_event,
    encode_ok,
)
from rkllmd.protocol.framing import FramingProblem, LineReader
from rkllmd.protocol.messages import Done, Event, Request
from rkllmd.transport.listen import peer_of
from rkllmd.transport.server import GRACE_SECONDS, Server
from rkllmd.transport.visit import Bounds, Visit


@dataclass(frozen=True, slots=True)
class Line:
    """A request, and the lines that answer it."""

    id: RequestId
    request: Request

    def hear(self, event: Event) -> bytes:
        """Told before the end."""
        return encode_event(self.id, event)

    def succeed(self, reply: Reply) -> bytes:
        """The final line."""
        if isinstance(reply, Done):
            return encode_event(self.id, reply)
        return encode_ok(self.id, reply)

    def fail(self, error: RkllmdError) -> bytes:
        """The final line when there is no answer."""
        return encode_error(self.id, error)


class Client(Visit[bytes | FramingProblem]):
    """One connection."""

    tells_stalled = True

    def __init__(self, server: Server, bounds: Bounds, line_bytes_max: int) -> None:
        super().__init__(server, bounds)
        self._line_bytes_max = line_bytes_max
        self._reader = LineReader(line_bytes_max)

    def meet(self, transport: asyncio.Transport) -> Caller:
        """A process of this machine."""
        peer = peer_of(transport.get_extra_info("socket"))
        return Caller("socket", f"uid {peer.uid}", peer.pid, peer.uid, peer.gid)

    def read(self, data: bytes) -> list[bytes | FramingProblem]:
        """Its lines."""
        return self._reader.feed(data)

    def read_rest(self) -> list[bytes | FramingProblem]:
        """A line without its newline."""
        return self._reader.finish()

    def take(self, line: bytes | FramingProblem) -> None:
        """Begin what it asks for, or tell what is wrong with it."""
        if isinstance(line, FramingProblem):
            limit = self._line_bytes_max
            self.refuse_all(
                RequestError(Code.LINE_TOO_LONG, f"a line of more than {limit} bytes", limit=limit)
            )
            return
        try:
            decoded = decode_request(line)
        except BadLine as error:
            self.tell(encode_error(error.id, error))
        else:
            self.begin(Line(decoded.id, decoded.request), decoded.id)

    def refusal(self, error: RkllmdError) -> bytes:
        """A line that answers no request."""
        return encode_error(NO_ID, error)


class LinesServer(Server):
    """Serves the protocol on listening sockets until `close`."""

    def __init__(
        self,
        settings: Socket,
        handler: Handler,
        *,
        on_bug: Callable[[BaseException], None] = lambda _: None,
        grace_s: float = GRACE_SECONDS,
    ) -> None:
        super().__init__(handler, on_bug, grace_s)
        self._line_bytes_max = settings.line_bytes_max
        self._bounds = Bounds(
            settings.connections_max,
            settings.requests_max,
            settings.outbox_bytes_max,
            settings.stall_s,
        )

    def make_client(self) -> Client:
        """What speaks with a client that connects."""
        return Client(self, self._bounds, self._line_bytes_max)
