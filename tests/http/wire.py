"""Plain HTTP for tests: what is sent is chosen, and what comes is seen whole."""

import contextlib
import http.client
import json
from dataclasses import dataclass
from typing import Any

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
        blocks = self.body.decode().split("\n\n")
        assert blocks.pop() == ""
        assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
        texts = [block.removeprefix("data: ") for block in blocks]
        return [text if text == "[DONE]" else json.loads(text) for text in texts]

    @property
    def lines(self) -> list[Any]:
        """Its JSON lines."""
        return [json.loads(line) for line in self.body.decode().splitlines()]


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
            return Answer(got.status, found, got.read())

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
