"""Fits a call's arguments to the JSON Schema of its tool, or says why they do not.

Checked are `type`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `items`,
`prefixItems`, `anyOf`, `oneOf` (as `anyOf`), `allOf`, references inside the schema (pydantic writes
an enumeration or an inner model as one), and the bounds of numbers, texts and lists. Not checked
are other references, `not`, conditions, `pattern` (a client's expression could take forever),
`format`, `patternProperties`, `uniqueItems` and whatever else a draft may add: what they forbid is
passed on.

Small models write `"5"` where a number is asked for. Where a text spells a value of the wanted
type, and the schema takes no text, it becomes that value.
"""

import json
import operator
from collections.abc import Callable, Mapping
from itertools import chain, repeat
from typing import Any
from urllib.parse import unquote

from rkllmd.shape import Place, describe, dotted

REFERENCES_MAX = 256
"""How many are followed for one call: a schema that refers to itself doubles with each level."""

_BOUNDS: Mapping[str, tuple[type, Callable[[Any, Any], bool], str]] = {
    "minimum": (float, operator.ge, "at least"),
    "maximum": (float, operator.le, "at most"),
    "exclusiveMinimum": (float, operator.gt, "more than"),
    "exclusiveMaximum": (float, operator.lt, "less than"),
    "minLength": (str, operator.ge, "a length of at least"),
    "maxLength": (str, operator.le, "a length of at most"),
    "minItems": (list, operator.ge, "a length of at least"),
    "maxItems": (list, operator.le, "a length of at most"),
}


def _is_number(value: object) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and abs(value) < float("inf"))


def _is_integer(value: Any) -> bool:
    return _is_number(value) and value == int(value)


_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": _is_integer,
    "number": _is_number,
}


class Misfit(ValueError):
    """The arguments do not fit; the words say where, what was found and what is allowed."""

    def __init__(self, place: Place, found: str, allowed: str) -> None:
        super().__init__(f"{dotted(place)}: found {found}, allowed: {allowed[:200]}")


class _References:
    """What `$ref` stands for in a schema."""

    def __init__(self, whole: object) -> None:
        self._whole = whole
        self._left = REFERENCES_MAX

    def follow(self, pointer: object) -> object:
        """The schema at a place in the whole; anything fits what is not there."""
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"its schema takes more than {REFERENCES_MAX} references")
        head, *parts = unquote(pointer).split("/") if isinstance(pointer, str) else [""]
        found = self._whole if head == "#" else True
        for part in parts:
            name = part.replace("~1", "/").replace("~0", "~")
            found = found.get(name, True) if isinstance(found, Mapping) else True
        return found


def fit(
    schema: object, value: Any, place: Place = (), references: _References | None = None
) -> Any:
    """The value as the schema has it, or a `Misfit`."""
    references = references or _References(schema)
    if schema is False:
        raise Misfit(place, describe(value), "nothing")
    if not isinstance(schema, Mapping):
        return value
    value = _fit_type(schema.get("type"), value, place)
    if "$ref" in schema:
        value = fit(references.follow(schema["$ref"]), value, place, references)
    for part in _listed(schema, "allOf"):
        value = fit(part, value, place, references)
    for name in ("anyOf", "oneOf"):
        if choices := _listed(schema, name):
            value = _fit_any(choices, value, place, references)
    _check_choices(schema, value, place)
    _check_bounds(schema, value, place)
    if isinstance(value, Mapping):
        return _fit_object(schema, value, place, references)
    if isinstance(value, list):
        first, item = _listed(schema, "prefixItems"), schema.get("items")
        return [
            fit(one, entry, (*place, index), references)
            for index, (entry, one) in enumerate(
                zip(value, chain(first, repeat(item)), strict=False)
            )
        ]
    return value


def _listed(schema: Mapping[str, Any], name: str) -> list[object]:
    found = schema.get(name)
    return found if isinstance(found, list) else []


def _fit_type(wanted: object, value: Any, place: Place) -> Any:
    names = wanted if isinstance(wanted, list) else [wanted]
    known = [name for name in names if isinstance(name, str) and name in _TYPES]
    if not known or len(known) < len(names):
        return value
    for candidate in (value, _spelled(value)):
        for name in known:
            if _TYPES[name](candidate):
                return int(candidate) if name == "integer" else candidate
    raise Misfit(place, describe(value), " or ".join(known))


def _spelled(value: Any) -> Any:
    """The number or truth value that a text spells; anything else is itself."""
    if not isinstance(value, str) or len(value) > 40:
        return value
    words = value.strip()
    try:
        meant = json.loads(words.lower() if words in {"True", "False"} else words)
    except ValueError:
        return value
    return meant if isinstance(meant, bool | int) or _is_number(meant) else value


def _fit_any(choices: list[object], value: Any, place: Place, references: _References) -> Any:
    """As the first choice that takes the value as it is, else as the first that takes it."""
    fitted, problem = [], None
    for choice in choices:
        try:
            fitted.append(fit(choice, value, place, references))
        except Misfit as misfit:
            problem = misfit
    if not fitted and problem is not None:
        raise problem
    return next((one for one in fitted if type(one) is type(value)), fitted[0])


def _check_choices(schema: Mapping[str, Any], value: Any, place: Place) -> None:
    choices = schema.get("enum")
    if "const" in schema:
        choices = [schema["const"]]
    if isinstance(choices, list) and not any(_same(value, choice) for choice in choices):
        raise Misfit(place, describe(value), ", ".join(map(repr, choices)))


def _same(one: object, other: object) -> bool:
    """Equal in JSON, where true is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _check_bounds(schema: Mapping[str, Any], value: Any, place: Place) -> None:
    for name, (kind, holds, words) in _BOUNDS.items():
        bound = schema.get(name)
        fits_kind = _is_number(value) if kind is float else isinstance(value, kind)
        if not fits_kind or not _is_number(bound):
            continue
        if not holds(value if kind is float else len(value), bound):
            raise Misfit(place, describe(value), f"{words} {bound}")


def _fit_object(
    schema: Mapping[str, Any], value: Mapping[str, Any], place: Place, references: _References
) -> Any:
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    for name in _listed(schema, "required"):
        if isinstance(name, str) and name not in value:
            raise Misfit((*place, name), "nothing", "a value, since it is required")
    others = None if "patternProperties" in schema else schema.get("additionalProperties")
    return {
        name: fit(properties.get(name, others), entry, (*place, name), references)
        for name, entry in value.items()
    }
