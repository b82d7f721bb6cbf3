"""Reading foreign data (YAML, JSON) into frozen dataclasses, strictly, and saying what was wrong.

One mechanism for the configuration, `model.yaml`, the socket protocol and the HTTP bodies. A
dataclass is the shape; its field types say what is allowed; `Annotated` adds bounds:

    @dataclass(frozen=True)
    class Timer:
        seconds: Annotated[float, Range(0, 3600)]
        \"\"\"How long.\"\"\"
        tone: Literal["soft", "loud"] = "soft"

Understood are str, int, float, bool, `StrEnum`, `X | None`, `Literal`, `tuple[X, ...]`,
`Mapping[str, X]`, other dataclasses, and `Any` (anything JSON can say). An integer is taken for a
float, `4.0` for an integer as in JSON Schema, a boolean never for a number, NaN and the infinities
never. The first problem found is raised, with its place, what was found, what is allowed, and the
nearest known name when a name is unknown.

The same shape gives a JSON Schema (`schema`), and the docstrings below the fields (`field_docs`).
What is only written and never read is a `TypedDict`, and has a schema too (`type_schema`).
"""

import ast
import dataclasses
import difflib
import inspect
import itertools
import re
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

FOUND_CHARACTERS_MAX = 60

Place = tuple[str | int, ...]
"""Where in the data: names and indices from the outside in."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Range:
    """Both ends are allowed; None is no end."""

    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Length:
    """Of a text in characters, or of a list in items."""

    low: int = 0
    high: int | None = None


@dataclass(frozen=True, slots=True)
class Pattern:
    """A text has to match as a whole; `allowed` says it in words."""

    regex: str
    allowed: str


class ShapeError(ValueError):
    """The data does not have the shape."""

    def __init__(self, place: Place, found: str, allowed: str, nearest: str | None = None) -> None:
        self.place = place
        self.found = found
        self.allowed = allowed
        self.nearest = nearest
        hint = f" (did you mean {nearest!r}?)" if nearest else ""
        super().__init__(f"{self.where}: found {found}, allowed: {allowed}{hint}")

    @property
    def where(self) -> str:
        """The place in words."""
        return dotted(self.place)


def dotted(place: Place) -> str:
    """A place in words: `cache.budgets[2]`."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the whole"


def describe(value: object) -> str:
    """What was found, short enough for one line of a log."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, int):
        # Not repr(): Python refuses to print integers of more than 4,300 digits.
        return (
            str(value) if value.bit_length() < 200 else f"an integer of {value.bit_length()} bits"
        )
    text = repr(value)
    if len(text) > FOUND_CHARACTERS_MAX:
        text = f"{text[:FOUND_CHARACTERS_MAX]}… ({len(text)} characters)"
    return f"{text} (text)" if isinstance(value, str) else text


def read(
    shape: type[T],
    data: object,
    place: Place = (),
    *,
    ignore_unknown: bool = False,
    null_is_absent: bool = False,
) -> T:
    """The dataclass that the data describes, or a `ShapeError`.

    `ignore_unknown` and `null_is_absent` are for clients of newer versions and of other habits; a
    configuration has neither.
    """
    return typing.cast("T", _Reader(ignore_unknown, null_is_absent).dataclass(shape, data, place))


@dataclass(frozen=True, slots=True)
class _Reader:
    ignore_unknown: bool
    null_is_absent: bool

    def dataclass(self, shape: type, data: object, place: Place) -> object:
        if not isinstance(data, Mapping):
            raise ShapeError(place, describe(data), "an object")
        hints = type_hints(shape)
        known = {field.name: field for field in dataclasses.fields(shape)}
        for key in data:
            if key not in known and not self.ignore_unknown:
                raise unknown_name(place, key, known)
        # What is there and wrong says more than what is not there.
        values = {
            name: self.value(hints[name], data[name], (*place, name))
            for name in known
            if name in data and not (data[name] is None and self.null_is_absent)
        }
        for name, field in known.items():
            is_required = field.default is MISSING and field.default_factory is MISSING
            if is_required and name not in values:
                raise ShapeError((*place, name), "nothing", allowed(hints[name]))
        return shape(**values)

    def value(self, hint: Any, data: object, place: Place) -> object:
        bounds: tuple[object, ...] = ()
        whole = hint
        if get_origin(hint) is Annotated:
            hint, *rest = get_args(hint)
            bounds = tuple(rest)
        result = self._bare(hint, data, place, whole)
        for bound in bounds:
            if result is not None and not _fits(bound, result):
                raise ShapeError(place, describe(data), allowed(whole))
        return result

    def _bare(self, hint: Any, data: object, place: Place, whole: Any) -> object:
        origin, arguments = get_origin(hint), get_args(hint)
        if hint is Any:
            return data
        if origin in {Union, types.UnionType}:
            return self._union(arguments, data, place, whole)
        if origin is Literal:
            if any(data == choice and type(data) is type(choice) for choice in arguments):
                return data
            close = nearest(data, [str(choice) for choice in arguments])
            raise ShapeError(place, describe(data), allowed(whole), close)
        if _is_word(hint):
            return hint(self._bare(Literal[tuple(map(str, hint))], data, place, whole))
        if dataclasses.is_dataclass(hint):
            return self.dataclass(typing.cast("type", hint), data, place)
        if origin is tuple and isinstance(data, list | tuple):
            return tuple(
                self.value(arguments[0], item, (*place, index)) for index, item in enumerate(data)
            )
        if origin is not None and issubclass(origin, Mapping) and isinstance(data, Mapping):
            return {
                key: self.value(arguments[1], item, (*place, key)) for key, item in data.items()
            }
        if _is_plain(hint, data):
            return hint(data) if hint in {int, float} else data
        raise ShapeError(place, describe(data), allowed(whole))

    def _union(self, arguments: tuple[Any, ...], data: object, place: Place, whole: Any) -> object:
        if data is None and type(None) in arguments:
            return None
        members = [argument for argument in arguments if argument is not type(None)]
        members = _meant(members, data, place)
        deepest: ShapeError | None = None
        for member in members:
            try:
                return self.value(member, data, place)
            except ShapeError as error:
                if len(members) == 1:
                    raise
                # A problem inside a member that fits from the outside says more than "none fits".
                if len(error.place) > len(place) and _could_be(member, data):
                    deepest = error
        raise deepest or ShapeError(place, describe(data), allowed(whole))


def _meant(members: list[Any], data: object, place: Place) -> list[Any]:
    """Of dataclasses that each name what their `type` may be, the one whose type the data has."""
    kinds: dict[object, Any] = {}
    for member in members:
        is_ours = isinstance(member, type) and dataclasses.is_dataclass(member)
        kind = type_hints(member).get("type") if is_ours else None
        if get_origin(kind) is not Literal:
            return members
        kinds |= dict.fromkeys(get_args(kind), member)
    found = data.get("type") if isinstance(data, Mapping) else None
    if not isinstance(found, str):
        return members
    if found not in kinds:
        raise ShapeError(
            (*place, "type"),
            describe(found),
            allowed(Literal[tuple(kinds)]),
            nearest(found, [str(one) for one in kinds]),
        )
    return [kinds[found]]


def _could_be(hint: Any, data: object) -> bool:
    origin = get_origin(hint)
    if origin is Annotated:
        return _could_be(get_args(hint)[0], data)
    return (dataclasses.is_dataclass(hint) and isinstance(data, Mapping)) or (
        origin is tuple and isinstance(data, list | tuple)
    )


def _is_word(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, StrEnum)


def _is_plain(hint: Any, data: object) -> bool:
    if isinstance(data, bool):
        return hint is bool
    if hint is float:
        return isinstance(data, int | float) and abs(data) <= sys.float_info.max
    if hint is int:
        return isinstance(data, int) or (isinstance(data, float) and data.is_integer())
    return hint is str and isinstance(data, str)


def _fits(bound: object, value: Any) -> bool:
    match bound:
        case Range(low, high):
            return (low is None or value >= low) and (high is None or value <= high)
        case Length(low, high):
            return len(value) >= low and (high is None or len(value) <= high)
        case Pattern(regex, _):
            return re.fullmatch(regex, value, re.ASCII) is not None
        case _:
            return True


def unknown_name(place: Place, name: object, known: typing.Iterable[str]) -> ShapeError:
    """The problem of a name that nobody knows."""
    names = sorted(known)
    return ShapeError(
        (*place, str(name)), "an unknown name", ", ".join(names), nearest(name, names)
    )


def nearest(found: object, names: list[str]) -> str | None:
    """The name that was probably meant."""
    close = difflib.get_close_matches(str(found)[:FOUND_CHARACTERS_MAX], names, n=1)
    return close[0] if close else None


def allowed(hint: Any) -> str:
    """What a type allows, in words."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return allowed(arguments[0]) + "".join(_bound_in_words(bound) for bound in arguments[1:])
    if hint is Any:
        return "anything"
    if origin in {Union, types.UnionType}:
        return " or ".join("null" if part is type(None) else allowed(part) for part in arguments)
    if origin is Literal:
        return ", ".join(describe(choice).removesuffix(" (text)") for choice in arguments)
    if _is_word(hint):
        return ", ".join(repr(str(word)) for word in hint)
    if dataclasses.is_dataclass(hint):
        return "an object"
    if origin is tuple:
        return f"a list of {allowed(arguments[0])}"
    if origin is not None and issubclass(origin, Mapping):
        return f"an object of {allowed(arguments[1])}"
    return {str: "a text", int: "an integer", float: "a number", bool: "true or false"}[hint]


def _bound_in_words(bound: object) -> str:
    match bound:
        case Range(low, None):
            return f" from {low}"
        case Range(None, high):
            return f" up to {high}"
        case Range(low, high):
            return f" from {low} to {high}"
        case Length(0, high):
            return f" of at most {high}"
        case Length(low, None):
            return f" of at least {low}"
        case Length(low, high):
            return f" of {low} to {high}"
        case Pattern(_, words):
            return f": {words}"
        case _:
            return ""


@cache
def type_hints(shape: type) -> dict[str, Any]:
    """The field types of a dataclass, resolved."""
    return typing.get_type_hints(shape, include_extras=True)


@cache
def field_docs(shape: type) -> Mapping[str, str]:
    """The docstring below each field of a dataclass, on one line; inherited fields too."""
    docs: dict[str, str] = {}
    for base in reversed(shape.__mro__):
        if dataclasses.is_dataclass(base):
            docs |= _own_field_docs(base)
    return docs


def _own_field_docs(shape: type) -> dict[str, str]:
    tree = ast.parse(inspect.cleandoc(inspect.getsource(shape)))
    body = typing.cast("ast.ClassDef", tree.body[0]).body
    docs = {}
    for item, following in itertools.pairwise(body):
        match item, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                docs[name] = " ".join(text.split())
            case _:
                pass
    return docs


def schema(shape: type, *, null_is_absent: bool = False) -> dict[str, Any]:
    """The JSON Schema of a dataclass, its field docstrings as descriptions.

    With `null_is_absent` it allows what `read` then takes: null for every member that is optional.
    """
    hints, docs = type_hints(shape), field_docs(shape)
    properties, required = {}, []
    for field in dataclasses.fields(shape):
        entry = type_schema(hints[field.name], null_is_absent=null_is_absent)
        is_required = field.default is MISSING and field.default_factory is MISSING
        if is_required:
            required.append(field.name)
        elif null_is_absent:
            entry = _or_null(entry)
        if docs.get(field.name):
            entry["description"] = docs[field.name]
        if isinstance(field.default, str | int | float | bool):
            entry["default"] = field.default
        properties[field.name] = entry
    result: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        result["required"] = required
    return result


def _or_null(entry: dict[str, Any]) -> dict[str, Any]:
    match entry:
        case {"anyOf": [*parts]} if {"type": "null"} not in parts:
            return {**entry, "anyOf": [*parts, {"type": "null"}]}
        case {"enum": [*choices]} if None not in choices:
            return {**entry, "enum": [*choices, None]}
        case {"type": str(name)}:
            return {**entry, "type": [name, "null"]}
        case _:
            return entry


def type_schema(hint: Any, *, null_is_absent: bool = False) -> dict[str, Any]:
    """The JSON Schema of one type."""
    origin, arguments = get_origin(hint), get_args(hint)

    def inner(part: Any) -> dict[str, Any]:
        return type_schema(part, null_is_absent=null_is_absent)

    if origin is Annotated:
        result = inner(arguments[0])
        for bound in arguments[1:]:
            result |= _bound_schema(bound, arguments[0])
        return result
    if hint is Any:
        return {}
    if origin in {Union, types.UnionType}:
        parts = [inner(part) for part in arguments if part is not type(None)]
        if len(parts) == len(arguments):
            return {"anyOf": parts}
        return _or_null(parts[0] if len(parts) == 1 else {"anyOf": parts})
    if origin is Literal:
        return {"enum": list(arguments)}
    if _is_word(hint):
        return {"enum": [str(word) for word in hint]}
    if dataclasses.is_dataclass(hint):
        return schema(typing.cast("type", hint), null_is_absent=null_is_absent)
    if typing.is_typeddict(hint):
        members = typing.get_type_hints(hint)
        return {
            "type": "object",
            "properties": {name: inner(member) for name, member in members.items()},
            "required": sorted(hint.__required_keys__),
        }
    if origin in {tuple, list}:
        return {"type": "array", "items": inner(arguments[0])}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": inner(arguments[1])}
    names = {
        str: "string", int: "integer", float: "number", bool: "boolean", types.NoneType: "null",
    }  # fmt: skip
    return {"type": names[hint]}


def _bound_schema(bound: object, hint: Any) -> dict[str, Any]:
    match bound:
        case Range(low, high):
            ends = {"minimum": low, "maximum": high}
        case Length(low, high):
            noun = "Length" if hint is str else "Items"
            ends = {f"min{noun}": low or None, f"max{noun}": high}
        case Pattern(regex, _):
            return {"pattern": f"^{regex}$"}
        case _:
            return {}
    return {name: end for name, end in ends.items() if end is not None}
