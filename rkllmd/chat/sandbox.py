"""Jinja2 as chat templates expect it, with an end to what a template may spend.

A template arrives with a model, so it is foreign code that runs in the daemon's own process. It
gets Jinja2's immutable sandbox, no loader, no clock and no chance, and these bounds:

- every turn of a loop and every call of a macro is a step, and a rendering has a budget of steps;
- what makes texts and lists long (operators, methods, filters) is checked, before it is done where
  a number says how long, and right after it otherwise;
- the output is counted while it is made.

Not bounded is what one filter does with long texts of its own, such as `replace` or `join` over
millions of characters: that costs memory once, and a person chose the model.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import date
from functools import wraps
from types import BuiltinMethodType
from typing import Any, NoReturn

from jinja2 import Template, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

STEPS_MAX = 250_000
LENGTH_MAX = 8 << 20
"""Of a text in characters, of a list in items."""
SOURCE_CHARACTERS_MAX = 256 << 10
WIDTH_MAX = 100_000
"""What a template may pad, indent or count to."""
INTEGER_BITS_MAX = 64

FIXED_DATE = date(2024, 7, 26)
"""What a template that asks for the date gets: the day that Llama's template falls back to.

The date would stand in the prefix, and today's would make every stored state worthless at midnight.
A prompt that needs the date says it in the user's turn.
"""

_WIDTH_FILTERS = frozenset({"batch", "center", "indent", "round", "slice", "truncate", "wordwrap"})
_LONG_WIDTH = re.compile(r"\d{6}|\*|\{[^}]*\{")
"""A width that a format gives itself, or takes from an argument."""


class Refused(Exception):
    """The template called `raise_exception`: it does not take this conversation."""


class Exhausted(Exception):
    """The template spent more than it may."""


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The environment of one template, for one rendering at a time."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        self._steps_left = 0
        del self.globals["lipsum"], self.filters["random"]
        self.globals |= {
            "range": _range,
            "raise_exception": _raise_exception,
            "strftime_now": FIXED_DATE.strftime,
        }
        self.filters = {name: _bounded(name, rule) for name, rule in self.filters.items()}
        self.filters["tojson"] = _tojson

    def compile_bounded(self, source: str) -> Template:
        """The template with its steps counted."""
        if len(source) > SOURCE_CHARACTERS_MAX:
            raise Exhausted(f"its source has more than {SOURCE_CHARACTERS_MAX:,} characters")
        tree = _Bounding().visit(self.parse(source))
        tree.set_environment(self)
        return Template.from_code(self, self.compile(tree), self.make_globals(None))

    def render_bounded(self, template: Template, values: Mapping[str, Any]) -> str:
        """Render within a fresh budget."""
        self._steps_left = STEPS_MAX
        pieces, length = [], 0
        for piece in template.generate(values):
            length += len(piece)
            _check_length(length)
            pieces.append(piece)
        return "".join(pieces)

    @property
    def tick(self) -> None:
        """Counts one step; a property, since reading one is the cheapest that a template can do."""
        self._steps_left -= 1
        if self._steps_left < 0:
            raise Exhausted(f"it took more than {STEPS_MAX:,} steps")

    def concat_bounded(self, *values: object) -> str:
        """`~`, which the sandbox does not look at by itself."""
        texts = [str(value) for value in values]
        _check_length(sum(map(len, texts)))
        return "".join(texts)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """The operators that can make something huge."""
        if operator in {"*", "**"}:
            _check_product(operator, left, right)
        if operator == "%" and isinstance(left, str):
            _check_format(left)
        return _checked(super().call_binop(context, operator, left, right))

    def call(self, context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Any call that the template makes; a text's methods take no large width."""
        if isinstance(getattr(function, "__self__", None), str):
            _check_widths((*args, *kwargs.values()))
        return _checked(super().call(context, function, *args, **kwargs))

    def is_safe_attribute(self, owner: Any, name: str, value: Any) -> bool:
        """As the sandbox says; a format must not pad to a large width."""
        if isinstance(owner, str) and name.startswith("format"):
            _check_format(owner)
        return super().is_safe_attribute(owner, name, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """The same for the newer Jinja2, which does not ask about formats (3.1.6)."""
        if isinstance(value, BuiltinMethodType) and value.__name__.startswith("format"):
            _check_format(str(value.__self__))
        return super().wrap_str_format(value)


class _Generation(Extension):
    """`{% generation %}`, which marks the assistant's words for training; here it means nothing."""

    tags = {"generation"}  # noqa: RUF012 - as the base class has it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Bounding(NodeTransformer):
    """Rewrites a template so that loops, macros and `~` go through the environment."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        return self._counted(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        return self._counted(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:
        return self._counted(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        concat = nodes.EnvironmentAttribute("concat_bounded", lineno=node.lineno)
        return nodes.Call(concat, node.nodes, [], None, None, lineno=node.lineno)

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.Node:
        self.generic_visit(node)
        # Every filter checks its result, so one that changes nothing is a check.
        node.filter = node.filter or nodes.Filter(
            None, "string", [], [], None, None, lineno=node.lineno
        )
        return node

    def _counted(self, node: Any) -> nodes.Node:
        self.generic_visit(node)
        tick = nodes.EnvironmentAttribute("tick", lineno=node.lineno)
        step = nodes.ExprStmt(tick, lineno=node.lineno)
        node.body.insert(0, step)
        assert isinstance(node, nodes.Node)
        return node


def _bounded(name: str, rule: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(rule)
    def filtered(*args: Any, **kwargs: Any) -> Any:
        if name in _WIDTH_FILTERS:
            _check_widths((*args, *kwargs.values()))
        if name == "format":
            _check_format(str(args[0]))
        return _checked(rule(*args, **kwargs))

    return filtered


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > WIDTH_MAX:
        raise Exhausted(f"it counts through more than {WIDTH_MAX:,} numbers")
    return numbers


def _raise_exception(message: str) -> NoReturn:
    raise Refused(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002 - as Hugging Face's signature is
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    """JSON as models were trained on it: no HTML escapes, no \\u escapes."""
    _check_widths((indent,))
    text = json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
    _check_length(len(text))
    return text


def _checked(value: Any) -> Any:
    """The value, unless it has become huge."""
    if isinstance(value, str | list | tuple):
        _check_length(len(value))
    elif isinstance(value, int) and value.bit_length() > INTEGER_BITS_MAX:
        raise Exhausted(f"it made a number of more than {INTEGER_BITS_MAX} bits")
    return value


def _check_product(operator: str, left: Any, right: Any) -> None:
    for text, times in ((left, right), (right, left)):
        if isinstance(text, str | list | tuple) and isinstance(times, int):
            _check_length(len(text) * times)
    if operator == "**" and max(map(_magnitude, (left, right))) > 1 << 10:
        raise Exhausted("it raises to a large power")


def _magnitude(number: Any) -> float:
    return abs(number) if isinstance(number, int | float) else 0


def _check_widths(values: tuple[Any, ...]) -> None:
    if any(_magnitude(value) > WIDTH_MAX for value in values):
        raise Exhausted(f"it pads to more than {WIDTH_MAX:,} characters")


def _check_format(text: str) -> None:
    if _LONG_WIDTH.search(text):
        raise Exhausted("it formats with a width that is too large, or with one from outside")


def _check_length(length: int) -> None:
    if length > LENGTH_MAX:
        raise Exhausted(f"it made more than {LENGTH_MAX:,} characters")
