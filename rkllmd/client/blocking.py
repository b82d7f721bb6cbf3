"""A connection for programs that wait: each request is an iterator of events.

Several requests may be open: what comes for another one is kept until that one is gone on with. One
thread may use a connection; another thread makes one of its own, and can end an answer of this one
by its session's name. A fork leaves the connection to the parent: the child's next request has one
of its own.

A connection that is lost, closed, or silent for `timeout_s` ends every open request with
`ConnectionLost`, and nothing is asked a second time by itself. The next request connects anew, with
growing pauses for as long as `patience_s`, so that a restart of the daemon is a pause.
"""

import itertools
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Generator
from contextlib import closing
from typing import Any, Self
from weakref import WeakSet

from rkllmd.client.connecting import default_socket, pauses
from rkllmd.client.lines import read_event, request_line
from rkllmd.client.problems import ConnectionLost, daemon_error

RECEIVE_BYTES = 65_536
CANCEL_SECONDS = 5.0
"""A daemon that is silent so long after a cancel loses the connection, which cancels too."""
PEER = "iII"
"""pid, uid and gid of SO_PEERCRED."""


class Client:
    """A connection to the daemon's socket."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        timeout_s: float | None = None,
        patience_s: float = 0.0,
    ) -> None:
        self.path = os.fspath(path or default_socket())
        self.timeout_s = timeout_s
        self._patience_s = patience_s
        self._numbers = itertools.count(1)
        self._inboxes: dict[int, deque[dict[str, Any]]] = {}
        self._socket: socket.socket | None = None
        self._buffer = bytearray()
        _clients.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the connection go; the daemon then cancels what is open. Twice does no harm."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._buffer, self._inboxes = None, bytearray(), {}

    def events(self, op: str, /, **members: Any) -> Generator[dict[str, Any], None, None]:
        """Ask, and hear everything up to the final event. Leaving in the middle cancels.

        It is asked when the iterator is first gone on with.
        """
        number = next(self._numbers)
        self._ask(request_line(number, op, members))
        self._inboxes[number] = deque()
        ended = False
        try:
            while not ended:
                reply = self._next(number)
                ended = bool(reply.get("final"))
                if reply.get("event") == "error":
                    raise daemon_error(reply)
                yield reply
        finally:
            if not ended:  # the iterator was left, or Ctrl-C came while it waited
                self._cancel(number)
            self._inboxes.pop(number, None)

    def call(self, op: str, /, **members: Any) -> dict[str, Any]:
        """Ask, and hear the final event only."""
        reply: dict[str, Any] = {}
        for reply in self.events(op, **members):  # noqa: B007  # the last one is wanted
            pass
        return reply

    def sentences(self, text: str, **members: Any) -> Generator[str, None, None]:
        """Chat, and hear whole sentences, ready to be spoken, while the answer goes on."""
        answer = self.events("chat", **{"text": text, "stream": "sentences", **members})
        with closing(answer):
            for event in answer:
                if event["event"] == "sentence":
                    yield event["text"]

    def prefill(self, text: str | None, session: str, **members: Any) -> dict[str, Any]:
        """Let the daemon compute what a coming `chat` will need, from what is heard so far.

        None, when the wake word was heard, has it get the system prompt and the history ready.
        """
        return self.call("prefill", text=text, session=session, **members)

    def cancel(self, session: str) -> int:
        """End what is open in a session, on any connection; how many requests that were."""
        return int(self.call("cancel", session=session)["cancelled"])

    def truncate(self, session: str, spoken: str) -> str:
        """Cut the last answer in the history to what was heard, once it has ended."""
        return str(self.call("session.truncate", session=session, spoken=spoken)["kept"])

    def daemon_pid(self) -> int:
        """The process that listens."""
        size = struct.calcsize(PEER)
        found = self._connected().getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        return int(struct.unpack(PEER, found)[0])

    def _cancel(self, number: int) -> None:
        """End a request in the middle, and hear its end, so that the connection stays usable."""
        if number not in self._inboxes:
            return  # the connection went, and the request with it
        timeout_s = self.timeout_s
        self.timeout_s = min(timeout_s or CANCEL_SECONDS, CANCEL_SECONDS)
        try:
            self._send(request_line(next(self._numbers), "cancel", {"target": number}))
            while not self._next(number).get("final"):
                pass
        except ConnectionLost:
            pass  # and with it the request
        except BaseException:
            self.close()
            raise
        finally:
            self.timeout_s = timeout_s

    def _connected(self) -> socket.socket:
        """The connection; a daemon that is being restarted is waited for."""
        for pause in pauses(self._patience_s):
            try:
                return self._connect()
            except ConnectionLost:
                time.sleep(pause)
        return self._connect()

    def _connect(self) -> socket.socket:
        if self._socket is not None:
            return self._socket
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(self.timeout_s)
            self._socket.connect(self.path)
        except OSError as error:
            self.close()
            raise ConnectionLost(
                f"cannot reach the daemon at {self.path}: {error.strerror or error}"
            ) from error
        except BaseException:
            self.close()
            raise
        return self._socket

    def _ask(self, line: bytes) -> None:
        was_open = self._socket is not None
        try:
            self._send(line)
        except ConnectionLost as lost:
            if not was_open or not isinstance(lost.__cause__, ConnectionError):
                raise
            # The daemon left since the last request, and has not heard the end of this line.
            self._send(line)

    def _send(self, line: bytes) -> None:
        try:
            self._connected().sendall(line)
        except OSError as error:
            self.close()
            raise self._lost(error) from error
        except BaseException:
            self.close()  # half a request may have been sent
            raise

    def _lost(self, error: OSError) -> ConnectionLost:
        if isinstance(error, TimeoutError):
            return ConnectionLost(f"the daemon says nothing for {self.timeout_s:g} s")
        return ConnectionLost(f"the daemon has left: {error.strerror or error}")

    def _next(self, number: int) -> dict[str, Any]:
        """The next event of a request."""
        while True:
            if number not in self._inboxes:
                raise ConnectionLost("the connection was closed")
            if self._inboxes[number]:
                return self._inboxes[number].popleft()
            self._take(self._reply())

    def _take(self, reply: dict[str, Any]) -> None:
        """Hand an event on; one without an id is for everybody, a late one for nobody."""
        number = reply.get("id")
        for known, inbox in self._inboxes.items():
            if number is None or number == known:
                inbox.append(reply)

    def _reply(self) -> dict[str, Any]:
        try:
            return read_event(self._read_line())
        except ValueError as error:
            self.close()
            raise ConnectionLost(f"what listens at {self.path} is no rkllmd") from error

    def _read_line(self) -> bytes:
        assert self._socket is not None, "a request is open"
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            try:
                self._socket.settimeout(self.timeout_s)
                received = self._socket.recv(RECEIVE_BYTES)
            except OSError as error:
                self.close()
                raise self._lost(error) from error
            if not received:
                self.close()
                raise ConnectionLost("the daemon has left in the middle of an answer")
            self._buffer += received
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line


_clients: WeakSet[Client] = WeakSet()


def _leave_to_the_parent() -> None:
    for client in list(_clients):
        client.close()


os.register_at_fork(after_in_child=_leave_to_the_parent)
