"""Wyoming's events as bytes: however a stream is cut into pieces, the same events come out. Pure.

An event is a line of JSON, `{"type", "version", "data"?, "data_length"?, "payload_length"?}`, then
`data_length` bytes of JSON without a newline, then `payload_length` bytes. What the second block
says goes before what the line says. Payloads are sound, of no use here, and passed over as they
come. Behind a problem nobody can find the next event, so it is told once and nothing more is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from rkllmd.errors import Code, RequestError
from rkllmd.protocol import strictjson
from rkllmd.protocol.codec import to_json
from rkllmd.shape import Length, Range, ShapeError, read

BLOCK_BYTES_MAX = 4_194_304
"""Of a line, and of the data behind it."""
VERSION = "1.8.0"
"""Of the Python package that first had the events that we send."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event without its payload."""

    type: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Head:
    type: Annotated[str, Length(1, 256)]
    data: Mapping[str, Any] | None = None
    data_length: Annotated[int, Range(0, BLOCK_BYTES_MAX)] = 0
    payload_length: Annotated[int, Range(0)] = 0


class EventReader:
    """Holds at most one unfinished event."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = 0
        """So many bytes of the rest have no newline in them."""
        self._head: _Head | None = None
        self._skipping = 0
        """Bytes of a payload that are still to come."""
        self._closed = False

    def feed(self, data: bytes) -> list[Event | RequestError]:
        """The events that are complete now; an error is the last one."""
        found: list[Event | RequestError] = []
        if self._closed:
            return found
        self._rest += data
        try:
            while (event := self._next()) is not None:
                found.append(event)
        except RequestError as error:
            found.append(error)
            self._closed = True
            self._rest.clear()
        return found

    def _next(self) -> Event | None:
        self._skip()
        if self._head is None:
            line = self._line()
            if line is None:
                return None
            self._head = _head(line)
        head = self._head
        if len(self._rest) < head.data_length:
            return None
        block = bytes(self._rest[: head.data_length])
        del self._rest[: head.data_length]
        self._head, self._skipping = None, head.payload_length
        return Event(head.type, {**(head.data or {}), **(_object(block) if block else {})})

    def _skip(self) -> None:
        there = min(self._skipping, len(self._rest))
        del self._rest[:there]
        self._skipping -= there

    def _line(self) -> bytes | None:
        """The next line that is not blank."""
        while True:
            end = self._rest.find(b"\n", self._searched)
            if max(end, len(self._rest) if end < 0 else 0) > BLOCK_BYTES_MAX:
                raise RequestError(
                    Code.LINE_TOO_LONG,
                    f"an event's line of more than {BLOCK_BYTES_MAX} bytes",
                    limit=BLOCK_BYTES_MAX,
                )
            if end < 0:
                self._searched = len(self._rest)
                return None
            line = bytes(self._rest[:end])
            del self._rest[: end + 1]
            self._searched = 0
            if line.strip():
                return line


def encode(kind: str, data: Mapping[str, Any] | None = None) -> bytes:
    """An event's bytes."""
    if not data:
        return f'{{"type":"{kind}","version":"{VERSION}"}}\n'.encode()
    block = to_json(data).encode(errors="replace")
    head = f'{{"type":"{kind}","version":"{VERSION}","data_length":{len(block)}}}\n'
    return head.encode() + block


def _head(line: bytes) -> _Head:
    try:
        return read(_Head, _object(line), ignore_unknown=True, null_is_absent=True)
    except ShapeError as error:
        raise RequestError(
            Code.BAD_REQUEST, f"an event's line: {error}", member=error.where
        ) from None


def _object(text: bytes) -> dict[str, Any]:
    try:
        return {name: value for name, value, _ in strictjson.members(strictjson.decode(text))}
    except strictjson.Refused as problem:
        raise RequestError(Code.BAD_JSON, str(problem)) from None
