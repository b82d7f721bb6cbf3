"""Plain HTTP for tests: what is sent is chosen, and what comes is as documented and seen whole."""

import contextlib
import http.client
import json
import socket
from dataclasses import dataclass
from typing import Any

from tests.http import contract

PATIENCE_SECONDS = 50


@dataclass
class Answer:
    """An answer that was read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its JSON."""
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of its server-sent events, the last one `[DONE]` as it is written."""
        found = contract.pieces("text/event-stream", self.body)
        return [*found, contract.ENDS] if self.body.endswith(b"data: [DONE]\n\n") else found

    @property
    def lines(self) -> list[Any]:
        """Its JSON lines."""
        return contract.pieces("application/x-ndjson", self.body)


class Http:
    """Requests to one port, each on a connection of its own."""

    def __init__(self, port: int, **headers: str) -> None:
        self.port = port
        self.headers = headers

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request and its whole answer; a body that is no bytes is sent as JSON."""
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        with contextlib.closing(connection):
            named = {name.replace("_", "-"): text for name, text in headers.items()}
            connection.request(method, path, sent, {**self.headers, **named})
            got = connection.getresponse()
            found = {name.lower(): text for name, text in got.getheaders()}
            answer = Answer(got.status, found, got.read())
        if method not in {"HEAD", "OPTIONS"}:
            kind = found["content-type"].partition(";")[0]
            contract.check(method, path, answer.status, kind, answer.body)
        return answer

    def get(self, path: str, **headers: str) -> Answer:
        """GET."""
        return self.call("GET", path, **headers)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        """POST."""
        return self.call("POST", path, body, **headers)

    def chat(self, text: str = "hello", **members: Any) -> Answer:
        """A short greedy chat."""
        body = {"messages": [{"role": "user", "content": text}], "temperature": 0, "max_tokens": 8}
        return self.post("/v1/chat/completions", body | members)


def chat_bytes(text: str = "hello", **members: Any) -> bytes:
    """A greedy chat as it is sent."""
    body = {"messages": [{"role": "user", "content": text}], "temperature": 0, **members}
    sent = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(sent)}\r\n\r\n"
    return head.encode() + sent


def connected(port: int, sent: bytes) -> socket.socket:
    """A connection on which something was sent."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
    sock.sendall(sent)
    return sock


def read_until(sock: socket.socket, word: bytes) -> None:
    """Read until a word has come."""
    heard = b""
    while word not in heard:
        more = sock.recv(4096)
        assert more, heard
        heard += more
