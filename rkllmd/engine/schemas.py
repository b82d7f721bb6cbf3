"""What of a JSON Schema cannot be kept although llguidance takes it. Pure.

Its numbers are floats, a step takes it time and memory by its digits, and it does not remember
which names an object has already. Characters are written in one way only (see `STYLE`), so that no
name can be a listed one that is spelled otherwise; a control character without a letter has none.

A `$ref` may point anywhere, so everything that looks like one of these words is taken for it,
wherever it stands.
"""

import math
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

EXACT_MAX = 1 << 53
STEPS_TOGETHER_MAX = 100_000
"""About half a second, and 80 MB."""
CONTROL = re.compile(r"[^\n\r\t\b\f -~\x80-\U0010ffff]")
SURROGATE = re.compile(r"[\ud800-\udfff]")
CONTROL_IN_PATTERN = re.compile(
    r"\\(?:[aecvU0]|[xu]\{|(?:x|u00)(?:[01]|7[fF])|[pP](?!\{?[LMNPSZ]))|\[:\^?cntrl"
)
"""Where a pattern may ask for control characters; more than has to be, and no usual one."""


def problem_of(schema: Any) -> str | None:
    """In words what cannot be kept, if anything cannot."""
    steps: list[Decimal] = []
    for value in everything(schema):
        match value:
            case str():
                problem = in_text(value)
            case int() if abs(value) > EXACT_MAX:
                problem = f"an integer is above {EXACT_MAX}, up to where they are kept exactly"
            case dict():
                problem = in_pattern(value) or in_names(value)
                step = value.get("multipleOf")
                steps += [Decimal(str(step))] if is_number(step) else []
            case _:
                problem = None
        if problem:
            return problem
    if any(step <= 0 for step in steps):
        return "multipleOf has to be above 0"
    if steps_together(steps) > STEPS_TOGETHER_MAX:
        return (
            f"multipleOf has too many digits, all of them together ({', '.join(map(str, steps))})"
        )
    return None


def everything(schema: Any) -> Iterator[Any]:
    """A schema and all that is in it."""
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        yield value
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            waiting += value


def in_text(text: str) -> str | None:
    """A character that no answer can have."""
    if SURROGATE.search(text):
        return f"{text!a} has half of a character that is written as a pair"
    if CONTROL.search(text):
        return f"{text!a} has a control character"
    return None


def in_pattern(schema: dict[str, Any]) -> str | None:
    """The same in a `pattern`, and in the names of `patternProperties`."""
    names = schema.get("patternProperties")
    for pattern in (schema.get("pattern"), *(names if isinstance(names, dict) else ())):
        if isinstance(pattern, str) and CONTROL_IN_PATTERN.search(pattern):
            return f"pattern: {pattern!a} may ask for control characters"
    return None


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def in_names(schema: dict[str, Any]) -> str | None:
    """An open object may have a name twice, which counts once."""
    least, required = schema.get("minProperties"), schema.get("required")
    certain = 1 + (len(set(map(str, required))) if isinstance(required, list) else 0)
    is_closed = schema.get("additionalProperties") is False and "patternProperties" not in schema
    if isinstance(least, int) and least > certain and not is_closed:
        return f"minProperties above {certain} where names are not listed"
    return None


def steps_together(steps: list[Decimal]) -> int:
    """The smallest common multiple of the steps, in units of their last digit."""
    places = max((-int(step.normalize().as_tuple().exponent) for step in steps), default=0)
    return math.lcm(*(int(step.scaleb(max(0, places))) for step in steps))
