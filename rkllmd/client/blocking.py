"""A connection for programs that wait: one request after another, each an iterator of events."""

import itertools
import json
import socket
import struct
import time
from collections.abc import Generator
from contextlib import closing
from typing import Any, Self

from rkllmd.client.backoff import pauses
from rkllmd.client.problems import ConnectionLost, daemon_error

RECEIVE_BYTES = 65_536
PEER = "iII"
"""pid, uid and gid of SO_PEERCRED."""


class Client:
    """A connection to the daemon's socket."""

    def __init__(self, path: str, timeout_s: float | None = None, patience_s: float = 0.0) -> None:
        self.path = path
        self._patience_s = patience_s
        self._timeout_s = timeout_s
        self._numbers = itertools.count(1)
        self._socket: socket.socket | None = None
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the connection go; the daemon then cancels what is open. Twice does no harm."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._buffer = None, b""

    def events(self, op: str, **members: Any) -> Generator[dict[str, Any], None, None]:
        """Ask, and hear everything up to the final event. Leaving in the middle cancels."""
        number = next(self._numbers)
        self._send({"id": number, "op": op, **members})
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

    def call(self, op: str, **members: Any) -> dict[str, Any]:
        """Ask, and hear the final event only."""
        return list(self.events(op, **members))[-1]

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

    def truncate(self, session: str, spoken: str) -> str:
        """Cut the last answer in the history to what was heard."""
        return str(self.call("session.truncate", session=session, spoken=spoken)["kept"])

    def daemon_pid(self) -> int:
        """The process that listens."""
        size = struct.calcsize(PEER)
        found = self._connected().getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        return int(struct.unpack(PEER, found)[0])

    def _cancel(self, number: int) -> None:
        """End a request in the middle, and hear its end, so that the connection stays usable."""
        if self._socket is None:
            return  # the connection went, and the request with it
        try:
            self._send({"id": next(self._numbers), "op": "cancel", "target": number})
            while not self._next(number).get("final"):
                pass
        except ConnectionLost:
            pass  # and with it the request
        except BaseException:
            self.close()
            raise

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
            self._socket.settimeout(self._timeout_s)
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

    def _send(self, request: dict[str, Any]) -> None:
        try:
            self._connected().sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            self.close()
            raise ConnectionLost(f"the daemon has left: {error.strerror or error}") from error
        except BaseException:
            self.close()  # half a request may have been sent
            raise

    def _next(self, number: int) -> dict[str, Any]:
        """The next event of a request; those of others, cancelled ones, are passed over."""
        while True:
            reply = self._reply()
            if reply.get("id") == number or reply.get("id") is None:
                return reply

    def _reply(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._line()))
        except (ValueError, TypeError) as error:
            self.close()
            raise ConnectionLost(f"what listens at {self.path} is no rkllmd") from error

    def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            try:
                received = self._connected().recv(RECEIVE_BYTES)
            except TimeoutError as error:
                self.close()
                raise ConnectionLost(f"no answer within {self._timeout_s} s") from error
            except OSError as error:
                self.close()
                raise ConnectionLost(f"the daemon has left: {error.strerror}") from error
            if not received:
                self.close()
                raise ConnectionLost("the daemon has left in the middle of an answer")
            self._buffer += received
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line
