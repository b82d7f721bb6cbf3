"""A connection to the daemon that notes when each line came."""

import itertools
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

RECEIVE_BYTES = 65_536
SILENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Reply:
    """What a client saw of one answer."""

    first_s: float
    """From the request to the first text, or to the end where there was none."""
    total_s: float
    final: dict[str, Any]


class Lines:
    """Requests go out, lines come in; the clock is `time.perf_counter`."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(SILENCE_SECONDS)
        self._socket.connect(str(path))
        self._numbers = itertools.count(1)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, *requests: dict[str, Any]) -> list[int]:
        """Send requests at once; the number that each one's lines will have."""
        numbers = [next(self._numbers) for _ in requests]
        lines = [
            json.dumps({"id": number, **request}) + "\n"
            for number, request in zip(numbers, requests, strict=True)
        ]
        self._socket.sendall("".join(lines).encode())
        return numbers

    def heard(self) -> Iterator[tuple[float, dict[str, Any]]]:
        """Lines, and when they came, for as long as they are asked for."""
        while True:
            line, found, rest = self._buffer.partition(b"\n")
            if found:
                self._buffer = rest
                now = time.perf_counter()
                yield now, json.loads(line)
            else:
                data = self._socket.recv(RECEIVE_BYTES)
                if not data:
                    raise SystemExit("the daemon closed the connection")
                self._buffer += data

    def ask(self, op: str, **members: Any) -> Reply:
        """One request to its end."""
        began = time.perf_counter()
        (number,) = self.send({"op": op, **members})
        first = None
        for now, line in self.heard():
            if line["id"] == number and (line["event"] == "delta" or line.get("final")):
                first = first or now
                if line["event"] == "error":
                    raise SystemExit(f"{op} failed: {line['code']}: {line['message']}")
                if line.get("final"):
                    return Reply(first - began, now - began, line)
        raise AssertionError("lines do not end")
