"""Random JSON Schemas of everything that `engine/constraint.py` says it covers.

Every schema has an end: texts, lists and numbers are bounded and objects closed, so that a model of
random weights comes to it.
"""

import json
import random
from typing import Any

NAMES = ("a", "room", "Küche", 'q"t', "x y", "on", "№", "back\\slash")
WORDS = ("on", "off", "Küche", 'say "hi"', "tab\t", "", "ein/aus", "😀")
PATTERNS = ("^[a-c]{1,3}$", "[0-9]{2}:[0-9]{2}", "^(ja|nein)$", r"^\d{1,4}$", "^[^a-z]{0,4}$")
FORMATS = ("date", "time", "uuid", "ipv4")
DEPTH_MAX = 3


def random_schema(chance: random.Random, depth: int = 0) -> Any:
    """A schema that something fits."""
    kinds = [text, number, integer, fixed, flag, fixed]
    if depth < DEPTH_MAX:
        kinds += [thing, thing, named, listing, row, choice, both]
    schema = chance.choice(kinds)(chance, depth)
    if not depth and chance.random() < 0.2:
        schema = {"$defs": {"it": schema}, "$ref": "#/$defs/it"}
    if isinstance(schema, dict) and chance.random() < 0.1:
        schema = {**schema, "title": "a remark", "description": "of no effect"}
    return schema


def text(chance: random.Random, _depth: int) -> Any:
    """A short one, or one of a pattern or a format."""
    kind = chance.randrange(4)
    if kind == 0:
        return {"type": "string", "pattern": bounded(chance.choice(PATTERNS))}
    if kind == 1:
        return {"type": "string", "format": chance.choice(FORMATS), "maxLength": 40}
    low = chance.randrange(4)
    return {"type": "string", "minLength": low, "maxLength": low + chance.randrange(6)}


def bounded(pattern: str) -> str:
    """A pattern that has an end; JSON Schema's match anywhere."""
    return pattern if pattern.startswith("^") else f"^{pattern}$"


def integer(chance: random.Random, _depth: int) -> Any:
    """Between two bounds, perhaps in steps."""
    low = chance.randrange(-200, 200)
    schema = {"type": "integer", "minimum": low, "maximum": low + chance.randrange(20, 500)}
    if chance.random() < 0.2:
        schema["multipleOf"] = chance.choice((2, 5, 10))
    return schema


def number(chance: random.Random, _depth: int) -> Any:
    """In steps, as a number has no longest."""
    low = chance.randrange(-20, 20)
    bounds = ("minimum", "maximum") if chance.random() < 0.5 else (
        "exclusiveMinimum", "exclusiveMaximum",
    )  # fmt: skip
    step = chance.choice((0.5, 0.125, 0.1, 0.01, 0.3, 2.5))
    return {"type": "number", bounds[0]: low, bounds[1]: low + 10, "multipleOf": step}


def fixed(chance: random.Random, _depth: int) -> Any:
    """One of some values, or just one."""
    values: list[Any] = [*WORDS, 0, -1, 2.5, True, None, ["a", 1], {"k": None}]
    if chance.random() < 0.2:
        return {"const": chance.choice(values)}
    return {"enum": chance.sample(values, chance.randrange(1, 6))}


def flag(chance: random.Random, _depth: int) -> Any:
    """Two of the smallest types."""
    return {"type": chance.choice(("boolean", "null", ["boolean", "null"]))}


def thing(chance: random.Random, depth: int) -> Any:
    """An object."""
    names = chance.sample(NAMES, chance.randrange(5))
    schema = {
        "type": "object",
        "properties": {name: random_schema(chance, depth + 1) for name in names},
        "required": [name for name in names if chance.random() < 0.6],
        "additionalProperties": False,
    }
    if names and chance.random() < 0.1:
        schema |= {"required": names, "minProperties": 1}
    return schema


def named(chance: random.Random, depth: int) -> Any:
    """An object whose names have a pattern."""
    patterns = {"^[a-c]{1,2}$": flag, "^[0-9]$": fixed, "^Ü$": integer}
    return {
        "type": "object",
        "properties": {"b": {"type": ["boolean", "null"]}},
        "required": ["b"],
        "maxProperties": 1 + chance.randrange(3),
        "patternProperties": {name: kind(chance, depth) for name, kind in patterns.items()},
        "additionalProperties": False,
    }


def listing(chance: random.Random, depth: int) -> Any:
    """A list of alike items."""
    low = chance.randrange(3)
    items = random_schema(chance, depth + 1)
    return {"type": "array", "items": items, "minItems": low, "maxItems": low + chance.randrange(3)}


def row(chance: random.Random, depth: int) -> Any:
    """A list of different items."""
    items = [random_schema(chance, depth + 1) for _ in range(chance.randrange(1, 4))]
    return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}


def choice(chance: random.Random, depth: int) -> Any:
    """Several schemas, of which one is enough; with `oneOf` their types keep them apart."""
    if chance.random() < 0.3:
        return {"oneOf": [text(chance, depth), integer(chance, depth), {"type": "null"}]}
    count = chance.randrange(1, 4)
    return {"anyOf": [random_schema(chance, depth + 1) for _ in range(count)]}


def both(chance: random.Random, _depth: int) -> Any:
    """Two schemas at once."""
    low = chance.randrange(50)
    return {"allOf": [{"type": "integer", "minimum": low}, {"maximum": low + 50}]}


def written(schema: Any) -> str:
    """For a person who wants to see which one it was."""
    return json.dumps(schema, ensure_ascii=False)
