"""The protocol between the daemon and a worker: small JSON headers with sized binary payloads.

A frame is one line of JSON (an object in ASCII, at most HEADER_BYTES_MAX) ended by a newline,
followed by exactly `payload` bytes when the header has that member. Texts and prompts of any length
are payloads. Bulk data such as a saved state never travels here; it is a path in a folder that the
daemon chose. Records of `runs.py` travel as objects of their fields.

Daemon to worker. Each call has an integer `call` of the daemon's choosing; it is answered by
exactly one final frame (`ok`, `done` or `error`) with the same `call`. Calls are done one after
another in the order they came, except `cancel` and `tokenize`, which are answered at once, also
during a run.

    load           spec                                 progress* ok{facts}, held
    run            kind, sampling, limits, media?; prompt, then media
                                                        (progress | piece)* done{stats}, held
    save_state     kind, path; prompt                   progress* ok{info or null}, held
    load_state     path                                 ok{tokens}, held
    release_state                                       ok, held
    reset                                               ok, held
    tokenize       ; text                               ok; tokens
    embed          pooling, normalize; text             ok{tokens, held: null}; float32 values
    logits         kind; prompt                         ok{tokens, held: null}; float32 values
    cancel         target (a call), gently              ok

What stands behind a semicolon is the payload. `media` says the kinds and sizes of the images and
sounds that the prompt's marks stand for (`MediaSizes`, `runs.MARK`). A `progress` has `done` and
`total` tokens; a `piece` has whole characters as its payload, stop texts already held back; an
`error` has `code`, `message` and `details`.

`held` is in every final frame of a call that the engine itself was given, `error` too: `text` or
`tokens` when the payload is the prompt that the engine's state now covers, null when the engine
cannot say.

A cancelled run ends with `done` and the reason `cancelled`, a cancelled save with `info` null, at
the engine's next chance to stop, or at once (with counts of 0) when it had not begun. `gently` ends
a run where no character is cut, so that its text can be gone on with. Other calls,
and calls that have ended, are not touched by a cancel.

Worker to daemon, first of all, before anything is imported that could fail or take long:

    hello          protocol, engine, pid, version (of rkllmd)

The worker's life is this socket: end of file means leave, at once, also in the middle of a run.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Annotated, Any, TypeVar

from rkllmd import shape
from rkllmd.runs import Media, MediaKind, Prompt
from rkllmd.shape import Range

PROTOCOL = 1
HEADER_BYTES_MAX = 262_144
PAYLOAD_BYTES_MAX = 67_108_864

AT_ONCE = frozenset({"cancel", "tokenize"})
"""Calls that do not wait for the engine."""
STOPPABLE = frozenset({"run", "save_state"})
"""Calls that a cancel can end."""

T = TypeVar("T")


class FrameError(ValueError):
    """What was read, or is to be written, is no frame of this protocol."""


@dataclass(frozen=True, slots=True)
class MediaSize:
    """One image or sound in a payload."""

    kind: MediaKind
    bytes: Annotated[int, Range(0)]


@dataclass(frozen=True, slots=True)
class MediaSizes:
    """What stands behind a prompt in a payload, in this order."""

    sizes: tuple[MediaSize, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """One header and its payload, with readers that trust neither."""

    header: Mapping[str, Any]
    payload: bytes = b""

    def word(self, name: str) -> str:
        """A text member."""
        value = self.header.get(name)
        if isinstance(value, str):
            return value
        raise FrameError(f"{name}: found {shape.describe(value)}, allowed: a text")

    def count(self, name: str) -> int:
        """A member that counts or names something."""
        value = self.header.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        raise FrameError(f"{name}: found {shape.describe(value)}, allowed: an integer from 0")

    def record(self, kind: type[T], name: str) -> T:
        """A member that is a record of `runs.py`."""
        try:
            return shape.read(kind, self.header.get(name), (name,))
        except shape.ShapeError as error:
            raise FrameError(str(error)) from error

    def text(self) -> str:
        """The payload as text."""
        try:
            return self.payload.decode()
        except UnicodeDecodeError as error:
            raise FrameError("the payload is no UTF-8") from error

    def words(self) -> bytes:
        """The payload as whole words of 32 bits."""
        if len(self.payload) % 4:
            raise FrameError(f"a payload of {len(self.payload)} bytes is not of 32-bit words")
        return self.payload

    def prompt_with_media(self) -> Prompt:
        """The payload as a prompt, and behind it what its marks stand for."""
        if "media" not in self.header:
            return self.prompt()
        sizes = self.record(MediaSizes, "media").sizes
        start = len(self.payload) - sum(size.bytes for size in sizes)
        if start < 0:
            raise FrameError("media: more bytes than the payload has")
        prompt, media = Frame(self.header, self.payload[:start]).prompt(), []
        for size in sizes:
            end = start + size.bytes
            media.append(Media.of_npy(size.kind, self.payload[start:end]))
            start = end
        return replace(prompt, media=tuple(media))

    def prompt(self, name: str = "kind") -> Prompt:
        """The payload as a prompt of the kind that a member names."""
        kind = self.word(name)
        if kind == "tokens":
            return Prompt("tokens", self.words())
        if kind == "text":
            return Prompt("text", self.payload)
        raise FrameError(f"{name}: found {shape.describe(kind)}, allowed: tokens, text")

    def held(self) -> Prompt | None:
        """What the engine holds, from a final frame that says it."""
        return None if self.header["held"] is None else self.prompt("held")


def encode(header: Mapping[str, Any], payload: bytes = b"") -> bytes:
    """A frame's bytes; dataclasses in the header become objects."""
    sized = {**header, "payload": len(payload)} if payload else header
    try:
        line = _ENCODER.encode(sized).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise FrameError(f"this header cannot be written: {error}") from error
    _check_sizes(len(line), len(payload))
    return line + b"\n" + payload


def encode_piece(call: int, payload: bytes) -> bytes:
    """The frame of a `piece`, of which there is one for each token; the same as `encode` makes."""
    return b'{"call":%d,"event":"piece","payload":%d}\n%b' % (call, len(payload), payload)


def _plain(value: object) -> object:
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is nothing that JSON can say")


# Made once: json.dumps and json.loads would make them anew for every frame.
_ENCODER = json.JSONEncoder(default=_plain, allow_nan=False, separators=(",", ":"))


def _check_sizes(header: int, payload: int) -> None:
    if header > HEADER_BYTES_MAX:
        raise FrameError(f"a header of {header} bytes or more, allowed: up to {HEADER_BYTES_MAX}")
    if payload > PAYLOAD_BYTES_MAX:
        raise FrameError(f"a payload of {payload} bytes, allowed: up to {PAYLOAD_BYTES_MAX}")


class FrameReader:
    """Takes bytes as they come and gives the frames that are complete."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._searched = 0
        self._header: dict[str, Any] | None = None
        self._missing = 0

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that these bytes complete; `FrameError` on anything else."""
        self._bytes += data
        frames = []
        while self._bytes and (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    def _next(self) -> Frame | None:
        if self._header is None and not self._read_header():
            return None
        if len(self._bytes) < self._missing:
            return None
        header, payload = self._header, bytes(self._bytes[: self._missing])
        assert header is not None
        del self._bytes[: self._missing]
        self._header, self._missing = None, 0
        return Frame(header, payload)

    def _read_header(self) -> bool:
        end = self._bytes.find(b"\n", self._searched)
        self._searched = len(self._bytes)
        _check_sizes(end if end >= 0 else len(self._bytes), 0)
        if end < 0:
            return False
        header = _parse(bytes(self._bytes[:end]))
        del self._bytes[: end + 1]
        self._searched = 0
        self._missing = Frame(header).count("payload") if "payload" in header else 0
        _check_sizes(0, self._missing)
        self._header = header
        return True


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _parse(line: bytes) -> dict[str, Any]:
    try:
        header, end = _DECODER.raw_decode(line.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise FrameError(f"a header that is no JSON: {shape.describe(line[:80])}") from error
    if end < len(line):
        raise FrameError(f"a header with something behind it: {shape.describe(line[:80])}")
    if not isinstance(header, dict):
        raise FrameError(f"a header that is {shape.describe(header)}, allowed: an object")
    return header
