"""Lines to requests, and replies to lines. The mapping between wire and Python names is here only.

Incoming: `decode_request`. Whatever the bytes are, it gives a request or raises a `BadLine`, which
carries the id as far as it could be read. Outgoing: `encode_event` and `encode_ok`. What leaves is
always JSON: numbers that are not finite become null, what UTF-8 cannot say becomes `?`.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from functools import cache
from typing import Any, get_args

from rkllmd.errors import Code, RequestError, RkllmdError
from rkllmd.protocol import messages, strictjson
from rkllmd.protocol.messages import Delta, Done, Error, Event, Request, Sentence
from rkllmd.shape import ShapeError, describe, nearest, read

ID_BYTES_MAX = 1024
OUTPUT_LINE_BYTES_MAX = 32_768
OK_LINE_BYTES_MAX = 67_108_864
MESSAGE_CHARACTERS_MAX = 2000

ESCAPED_BYTES_MAX = 6
"""One character takes no more than this inside a JSON text."""

ENVELOPE_BYTES_MAX = 512
"""What stands around id and text in a `delta` or `sentence`."""

PIECE_CHARACTERS = (OUTPUT_LINE_BYTES_MAX - ENVELOPE_BYTES_MAX - ID_BYTES_MAX) // ESCAPED_BYTES_MAX
"""So many characters of text fit in a line, whatever they are."""

OPERATIONS: Mapping[str, type[Request]] = {kind.op: kind for kind in get_args(Request)}
EVENTS: Mapping[str, type[Event]] = {kind.event: kind for kind in get_args(Event)}
FINAL_EVENTS = frozenset({"ok", Done.event, Error.event})


@dataclass(frozen=True, slots=True)
class RequestId:
    """What a client calls its request: any JSON value, kept as it was written."""

    text: str = "null"
    value: Any = None


NO_ID = RequestId()


def id_key(value: Any) -> str:
    """What ids are compared by. `1`, `1.0`, `"1"` and `true` are four ids."""
    return json.dumps(value, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A request and what its replies are marked with."""

    id: RequestId
    request: Request


class BadLine(RequestError):
    """A line that is no request; `id` is as far as it could be read."""

    def __init__(self, request_id: RequestId, code: Code, message: str, **details: Any) -> None:
        super().__init__(code, message, **details)
        self.id = request_id


def decode_request(line: bytes) -> Decoded:
    """The request in a line without its newline."""
    request_id, found = NO_ID, {}
    try:
        text = strictjson.decode(line)
        for name, value, place in strictjson.members(text):
            found[name] = value
            if name == "id":
                request_id = _request_id(text[place], value)
    except strictjson.Refused as problem:
        raise BadLine(request_id, Code.BAD_JSON, str(problem)) from None
    return Decoded(request_id, _request(request_id, found))


def _request_id(text: str, value: Any) -> RequestId:
    size = len(text.encode())
    if size > ID_BYTES_MAX:
        raise _bad_request(NO_ID, "id", f"{size} bytes", f"at most {ID_BYTES_MAX}")
    return RequestId(text, value)


def _request(request_id: RequestId, found: dict[str, Any]) -> Request:
    op = found.get("op")
    if not isinstance(op, str):
        was = describe(op) if "op" in found else "nothing"
        raise _bad_request(request_id, "op", was, "the name of an operation")
    kind = OPERATIONS.get(op)
    if kind is None:
        close = nearest(op, list(OPERATIONS))
        hint = f", did you mean {close!r}?" if close else ""
        raise BadLine(
            request_id, Code.UNKNOWN_OP, f"no operation {describe(op)}{hint}", nearest=close
        )
    try:
        request = read(kind, found, ignore_unknown=True, null_is_absent=True)
    except ShapeError as error:
        details = {"nearest": error.nearest} if error.nearest else {}
        raise _bad_request(request_id, error.where, error.found, error.allowed, **details) from None
    choices = messages.NEEDS_ONE_OF.get(kind, ())
    if choices and not any(_is_given(request, name) for name in choices):
        raise _bad_request(request_id, choices[0], "nothing", " or ".join(choices))
    return request


def _is_given(request: Request, name: str) -> bool:
    default = next(field.default for field in dataclasses.fields(request) if field.name == name)
    return getattr(request, name) is not default


def _bad_request(
    request_id: RequestId, member: str, found: str, allowed: str, **details: Any
) -> BadLine:
    sentence = f"{member}: found {found}, allowed: {allowed}"
    if "nearest" in details:
        sentence += f" (did you mean {details['nearest']!r}?)"
    return BadLine(
        request_id,
        Code.BAD_REQUEST,
        sentence,
        member=member,
        found=found,
        allowed=allowed,
        **details,
    )


def encode_event(request_id: RequestId, event: Event) -> bytes:
    """The line of an event; several lines where the text of a `delta` or `sentence` is too long."""
    if isinstance(event, Delta) and event.channel is None:
        # What comes for each token: an encoder that is given a text has much less to do.
        line = _written(request_id, event.event, f'"text":{_ENCODER.encode(event.text)}')
    else:
        line = _line(request_id, event.event, _members(event))
    if len(line) <= OUTPUT_LINE_BYTES_MAX:
        return line
    match event:
        case Delta(text) | Sentence(text=text):
            pieces = range(0, len(text), PIECE_CHARACTERS)
            return b"".join(
                _line(
                    request_id,
                    event.event,
                    _members(event) | {"text": text[start : start + PIECE_CHARACTERS]},
                )
                for start in pieces
            )
        case Done():
            return _done_without_text(request_id, event)
        case Error():
            short = dataclasses.replace(
                event, message=event.message[:MESSAGE_CHARACTERS_MAX], details=None
            )
            return _line(request_id, event.event, _members(short))
        case _:
            return line


def _done_without_text(request_id: RequestId, done: Done) -> bytes:
    kept = _members(done)
    del kept["text"]
    kept["truncated"] = True
    line = _line(request_id, done.event, kept)
    if len(line) > OUTPUT_LINE_BYTES_MAX:
        line = _line(request_id, done.event, kept | {"warnings": ["too many to be told"]})
    return line


def encode_ok(request_id: RequestId, result: Mapping[str, Any]) -> bytes:
    """The final line of a request that gives values."""
    line = _line(request_id, "ok", dict(result))
    if len(line) > OK_LINE_BYTES_MAX:
        raise RequestError(
            Code.BAD_REQUEST,
            f"the reply would have {len(line)} bytes, allowed: {OK_LINE_BYTES_MAX}; ask for less",
        )
    return line


def encode_error(request_id: RequestId, error: RkllmdError) -> bytes:
    """The final line of a request that failed."""
    return encode_event(
        request_id,
        Error(
            error.code,
            error.message,
            error.next_step,
            error.retryable,
            dict(error.details) or None,
        ),
    )


def _line(request_id: RequestId, event: str, found: dict[str, Any]) -> bytes:
    assert found.keys().isdisjoint({"id", "event", "final"}), "these are the envelope's"
    return _written(request_id, event, to_json(found)[1:-1])


def _written(request_id: RequestId, event: str, inner: str) -> bytes:
    head = f'{{"id":{request_id.text},"event":"{event}"'
    end = ',"final":true}\n' if event in FINAL_EVENTS else "}\n"
    return f"{head}{',' if inner else ''}{inner}{end}".encode(errors="replace")


def _members(value: Any) -> dict[str, Any]:
    """A dataclass as members; those that may be absent are, when there is nothing to say."""
    return {
        name: member
        for name, optional in _fields(value.__class__)
        if (member := getattr(value, name)) is not None or not optional
    }


@cache
def _fields(kind: Any) -> tuple[tuple[str, bool], ...]:
    return tuple(
        (field.name, field.default is None and field.default is not MISSING)
        for field in dataclasses.fields(kind)
    )


def to_json(value: Any) -> str:
    """JSON on one line, whatever numbers are in the value."""
    try:
        return _ENCODER.encode(value)
    except ValueError:
        return _ENCODER.encode(_finite(value))


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value):
        return _members(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return _finite(_members(value)) if dataclasses.is_dataclass(value) else value


_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain
)
