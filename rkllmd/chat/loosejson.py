"""Reads JSON as small models write it, and only what can have one meaning.

Taken besides JSON: single quotes, keys without quotes, `True`, `False` and `None`, a comma too
many, raw line breaks in texts, and closing brackets that are missing at the end.

Not taken, since the meaning would be guessed: a text that is not closed, a number or word at the
very end with nothing behind it (`{"minutes": 1` may have become 15), the same key twice in an
object, NaN and the infinities.
"""

import json
import math
import re
from typing import Any, NoReturn

DEPTH_MAX = 64

_BLANK = re.compile(r"\s*")
_WORD = re.compile(r"[A-Za-z_$][\w$-]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])")
_DOUBLE = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
# An apostrophe within the text is one that nothing follows which may follow a text.
_SINGLE = re.compile(r"'((?:[^'\\]|\\.|'(?!\s*(?:[,:}\]]|$)))*)'", re.DOTALL)
_WORDS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}


def read(text: str, *, ended: bool, cut_off: bool = False) -> tuple[Any, int]:
    """The value at the start of the text, and where it ends; a `ValueError` when there is none.

    `ended`: something follows the text that shows that the model was done with it. `cut_off`: the
    model was not, so that more than brackets may be missing.
    """
    try:
        value, end = _STRICT.raw_decode(text, _BLANK.match(text).end())  # type: ignore[union-attr]
        if isinstance(value, dict | list | str) or ended:
            return value, end
    except (ValueError, RecursionError):
        pass
    reader = _Reader(text, ended=ended, cut_off=cut_off)
    return reader.value(0), reader.position


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _fail("a number that is too large")
    return number


def _fail(reason: str) -> NoReturn:
    raise ValueError(reason)


def _unlike(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        _fail("a key twice")
    return found


_STRICT = json.JSONDecoder(
    strict=False, parse_float=_finite, parse_constant=_fail, object_pairs_hook=_unlike
)


class _Reader:
    def __init__(self, text: str, *, ended: bool, cut_off: bool) -> None:
        self._text = text
        self._ended = ended
        self._may_lack_brackets = ended or not cut_off
        self.position = 0

    def value(self, depth: int) -> Any:
        if depth > DEPTH_MAX:
            _fail("too many brackets")
        match self._next():
            case "{":
                return self._object(depth)
            case "[":
                return self._list(depth)
            case '"' | "'":
                return self._string()
            case _:
                return self._scalar()

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.position += 1
        while not self._closed("}"):
            key = self._string() if self._next() in {'"', "'"} else self._take(_WORD)
            if self._next() != ":":
                _fail("a key without a value")
            if key in found:
                _fail("a key twice")
            self.position += 1
            found[key] = self.value(depth + 1)
            self._separator("}")
        return found

    def _list(self, depth: int) -> list[Any]:
        found = []
        self.position += 1
        while not self._closed("]"):
            found.append(self.value(depth + 1))
            self._separator("]")
        return found

    def _closed(self, bracket: str) -> bool:
        """Whether the bracket is here, or missing at the end."""
        following = self._next()
        if following == bracket:
            self.position += 1
        return following == bracket or (not following and self._may_lack_brackets)

    def _separator(self, bracket: str) -> None:
        following = self._next()
        if following == ",":
            self.position += 1
        elif following not in {bracket, ""}:
            _fail("no comma between values")

    def _string(self) -> str:
        if self._text[self.position] == '"':
            return str(json.loads(_escaped(self._take(_DOUBLE)), strict=False))
        inner = self._take(_SINGLE)[1:-1].replace("\\'", "'")
        quoted = re.sub(r'(\\.)|"', lambda found: found[1] or '\\"', inner, flags=re.DOTALL)
        return str(json.loads(_escaped(f'"{quoted}"'), strict=False))

    def _scalar(self) -> Any:
        number = _NUMBER.match(self._text, self.position)
        word = number[0] if number else self._take(_WORD)
        self.position = number.end() if number else self.position
        if self.position == len(self._text) and not self._ended:
            _fail("it ends in the middle of a value")
        if number:
            return int(word) if word.lstrip("-").isdigit() else _finite(word)
        if word not in _WORDS:
            _fail(f"a word without quotes: {word[:40]}")
        return _WORDS[word]

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self.position)
        if found is None:
            _fail("something that is no value")
        self.position = found.end()
        return found[0]

    def _next(self) -> str:
        """Skip blanks and look at the next character; empty at the end."""
        blank = _BLANK.match(self._text, self.position)
        assert blank is not None
        self.position = blank.end()
        return self._text[self.position : self.position + 1]


def _escaped(text: str) -> str:
    """A quoted text whose escapes JSON knows; a backslash before anything else is itself."""
    return re.sub(r'\\(?:(["\\/bfnrt]|u[0-9a-fA-F]{4})|)', _kept_or_doubled, text)


def _kept_or_doubled(found: re.Match[str]) -> str:
    return found[0] if found[1] else "\\\\"
