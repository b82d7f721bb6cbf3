"""The JSON of strangers, read so that every oddity has one answer. Pure.

The grammar is RFC 8259's. Refused beyond it, each with its own sentence, are bytes that are no
UTF-8, a byte order mark, the same name twice in an object, `NaN` and `Infinity`, a number that a
double cannot hold or that has more than NUMBER_CHARACTERS_MAX characters, half a surrogate pair,
the character NUL (the engines' texts end there), and nesting deeper than DEPTH_MAX. Nothing but
`Refused` leaves this file.
"""

import math
import re
from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder
from typing import Any, NoReturn

DEPTH_MAX = 64
NUMBER_CHARACTERS_MAX = 400
"""A double written out whole has 309 digits before the point."""

BYTE_ORDER_MARK = "\ufeff"

_skip_blanks = re.compile(r"[ \t\n\r]*").match
_odd_escape = re.compile(r"\\u(?:0000|[dD][89a-fA-F])").search
_odd_character = re.compile("[\0\ud800-\udfff]").search


class Refused(ValueError):
    """The text is not taken; the sentence says why."""


def decode(line: bytes) -> str:
    """The line's characters."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise Refused(f"not UTF-8 at byte {error.start}") from None
    if text.startswith(BYTE_ORDER_MARK):
        raise Refused("begins with a byte order mark; leave it out")
    return text


def members(text: str) -> Iterator[tuple[str, Any, slice]]:
    """The members of the one object in a text: name, value, and where the value stands.

    They come one by one, so that what stood before a problem is known.
    """
    try:
        yield from _members(text)
    except JSONDecodeError as error:
        raise Refused(f"not JSON at character {error.pos}: {error.msg}") from None
    except RecursionError:
        raise _too_deep() from None


def _members(text: str) -> Iterator[tuple[str, Any, slice]]:
    suspicious = _odd_escape(text) is not None or text.count("[") + text.count("{") > DEPTH_MAX
    position = _after_blanks(text, 0)
    if text[position : position + 1] != "{":
        raise Refused("not a JSON object")
    position = _after_blanks(text, position + 1)
    names: set[str] = set()
    more = text[position : position + 1] != "}"
    while more:
        if text[position : position + 1] != '"':
            raise JSONDecodeError("Expecting a name in double quotes", text, position)
        name, end = _DECODER.raw_decode(text, position)
        start = _after_blanks(text, _after(":", text, end))
        value, end = _DECODER.raw_decode(text, start)
        if name in names:
            raise _twice(name)
        names.add(name)
        if suspicious:
            _check([name, value])
        yield name, value, slice(start, end)
        position = _after_blanks(text, end)
        more = text[position : position + 1] != "}"
        if more:
            position = _after_blanks(text, _after(",", text, position))
    position = _after_blanks(text, position + 1)
    if position != len(text):
        raise JSONDecodeError("Extra data", text, position)


def _after_blanks(text: str, position: int) -> int:
    match = _skip_blanks(text, position)
    assert match is not None, "an empty run of blanks matches anywhere"
    return match.end()


def _after(mark: str, text: str, position: int) -> int:
    position = _after_blanks(text, position)
    if text[position : position + 1] != mark:
        raise JSONDecodeError(f"Expecting '{mark}'", text, position)
    return position + 1


def _check(member: list[Any]) -> None:
    """Look at everything inside; `member` stands for the object that it is in."""
    containers: list[Any] = [member]
    for _ in range(DEPTH_MAX):
        inner: list[Any] = []
        for container in containers:
            inner += container
            inner += container.values() if isinstance(container, dict) else ()
        if any(isinstance(value, str) and _odd_character(value) for value in inner):
            raise Refused("a text with the character NUL or with half a surrogate pair")
        containers = [value for value in inner if isinstance(value, dict | list)]
    if containers:
        raise _too_deep()


def _too_deep() -> Refused:
    return Refused(f"nested deeper than {DEPTH_MAX}")


def _twice(name: str) -> Refused:
    return Refused(f"the name {name[:60]!r} twice in an object")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise _twice(name)
        result[name] = value
    return result


def _integer(digits: str) -> int:
    return int(_short(digits))


def _float(digits: str) -> float:
    number = float(_short(digits))
    if math.isinf(number):
        raise Refused("a number beyond 1.8e308")
    return number


def _short(digits: str) -> str:
    if len(digits) > NUMBER_CHARACTERS_MAX:
        raise Refused(f"a number of {len(digits)} characters, allowed are {NUMBER_CHARACTERS_MAX}")
    return digits


def _constant(word: str) -> NoReturn:
    raise Refused(f"{word} is not JSON")


_DECODER = JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
