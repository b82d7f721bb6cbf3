"""The connections of the HTTP face: who is there, who is gone, who takes too long.

aiohttp speaks HTTP; this keeps what it does not:

- A client that is gone cancels what it asked for. aiohttp tells its server object of every lost
  connection, in every version and in the same stretch of the loop, so nothing is polled.
- A connection has `idle_s`, from its beginning or from the end of its last answer, to have sent a
  whole request head; then it is closed. Bytes that trickle in do not prolong it, and a head that
  goes on beyond HEAD_BYTES_MAX is cut off (aiohttp 3.8 bounds a header, and not their number).
- Beyond `connections_max` a connection is closed at once.
- What a stranger sends instead of HTTP is answered, and is no error of ours in the log.
"""

import asyncio
import logging
import socket
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from rkllmd.config.settings import Http
from rkllmd.operations.call import Call, Caller, Connection
from rkllmd.transport.listen import peer_of

GRACE_SECONDS = 15.0
LINGER_SECONDS = 2.0
"""How long what a refused client still sends is thrown away, so that it can read why."""
HEAD_BYTES_MAX = 1 << 20
"""More than a request's head, and what of its body is read along with it before it is served."""


class Peer:
    """One connected client."""

    def __init__(self, transport: asyncio.Transport, settings: Http) -> None:
        self.transport = transport
        self.connection = Connection(_caller(transport))
        self.is_gone = False
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._taken = 0
        self.wait_for_request()

    def wait_for_request(self, *, rest_of_body: bool = False) -> None:
        """Nothing is being answered; the rest of a refused body may still come."""
        self.stop_waiting()
        self._taken = -self._settings.body_bytes_max if rest_of_body else 0
        if not self.is_gone:
            self._timer = self._loop.call_later(self._settings.idle_s, self.transport.abort)

    def takes(self, count: int) -> bool:
        """Whether so many bytes are taken; they are not when no request came of too many."""
        self._taken += count
        if self._timer is None or self._taken <= HEAD_BYTES_MAX:
            return True
        self.transport.abort()
        return False

    def stop_waiting(self) -> None:
        """A request is here, or the client is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def opened(self, call: Call, task: "asyncio.Task[Any]") -> None:
        """An operation serves this client."""
        self.connection.opened(call)
        self._tasks.add(task)
        if self.is_gone:
            self._cancel()

    def ended(self, call: Call, task: "asyncio.Task[Any]") -> None:
        """It has ended."""
        self.connection.ended(call)
        self._tasks.discard(task)

    def lose(self) -> None:
        """The client is gone: ask its operations to end, and see to it that they do."""
        self.is_gone = True
        self.stop_waiting()
        self._cancel()

    def _cancel(self) -> None:
        for call in self.connection.open_calls():
            call.cancel()
        if self._tasks:
            self._loop.call_later(GRACE_SECONDS, self._end_by_force)

    def _end_by_force(self) -> None:
        for task in self._tasks:
            task.cancel()


class Metered:
    """Stands between a transport and aiohttp's handler, and hands on what its peer may send."""

    def __init__(self, handler: RequestHandler, peer: Peer) -> None:
        self._handler = handler
        self._peer = peer

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._peer.takes(len(data)):
            self._handler.data_received(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handler, name)


class Wire(web.Server):
    """aiohttp's server, with its peers known."""

    def __init__(self, settings: Http, handler: Any) -> None:
        super().__init__(
            handler,
            access_log=None,
            logger=_log_of_aiohttp(),
            keepalive_timeout=settings.idle_s,
            auto_decompress=False,
            lingering_time=LINGER_SECONDS,
        )
        self._settings = settings
        self._peers: dict[RequestHandler, Peer] = {}

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        """A client connects."""
        super().connection_made(handler, transport)
        peer = self._peers[handler] = Peer(transport, self._settings)
        transport.set_protocol(cast("asyncio.Protocol", Metered(handler, peer)))
        if len(self._peers) > self._settings.connections_max:
            transport.abort()

    def connection_lost(self, handler: Any, exc: BaseException | None = None) -> None:
        """A client is gone."""
        super().connection_lost(handler, exc)
        peer = self._peers.pop(handler, None)
        if peer is not None:
            peer.lose()

    def peer(self, request: web.BaseRequest) -> Peer | None:
        """Who sent a request; None when they are gone already."""
        return self._peers.get(request.protocol)

    def close_idle(self) -> None:
        """Close connections once what they asked for is answered; the idle ones now."""
        for handler in list(self._peers):
            handler.close()


def _log_of_aiohttp() -> logging.Logger:
    log = logging.getLogger("rkllmd.http.aiohttp")
    log.addFilter(_is_our_business)
    return log


def _is_our_business(record: logging.LogRecord) -> bool:
    """Whether what aiohttp calls an error is one of this program."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)


def _caller(transport: asyncio.Transport) -> Caller:
    sock = transport.get_extra_info("socket")
    if sock.family == socket.AF_UNIX:
        peer = peer_of(sock)
        return Caller("http", f"uid {peer.uid}", peer.pid, peer.uid, peer.gid)
    name = transport.get_extra_info("peername")
    return Caller("http", f"address {name[0] if name else 'unknown'}")
