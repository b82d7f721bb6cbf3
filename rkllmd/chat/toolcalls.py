"""Finds the tool calls in an answer while it is being written.

Text before the first call is the answer's and is let through as soon as it cannot become a call;
from the first call on everything is kept until the end. A call begins

- with its family's mark, anywhere: `<tool_call>` (Hermes, Qwen), `<|python_tag|>` (Llama 3),
  `[TOOL_CALLS]` (Mistral);
- at the head of a line, perhaps in a code fence or a list, with a JSON object whose first key is
  one that calls have.

What comes then is read as `{"name": …, "arguments": {…}}` (or `parameters`, or inside `function`),
as a list of these, as Mistral's `name[ARGS]{…}` or as the newer Qwens'
`<function=name><parameter=key>…`. JSON may be as small models write it (see `loosejson`); a missing
closing tag and text behind the calls do no harm. What is missing from a call in the middle of which
the model was stopped is not guessed. A call counts when its name is listed, its
arguments fit (see `arguments`), and it can mean one thing only; any other one becomes a problem, in
words. Without a call that counts, the answer is text to the end.

A bare object that has no arguments at all is an answer in JSON: neither a call nor a problem.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rkllmd.chat.arguments import Misfit, fit
from rkllmd.chat.loosejson import read
from rkllmd.protocol.messages import Tool
from rkllmd.shape import describe

Family = Literal["hermes", "llama3", "mistral"]

MARKS: Mapping[Family, tuple[str, str]] = {
    "hermes": ("<tool_call>", "</tool_call>"),
    "llama3": ("<|python_tag|>", "<|eom_id|>"),
    "mistral": ("[TOOL_CALLS]", "</s>"),
}
"""How calls begin, and what may close them."""

QUOTED_CHARACTERS_MAX = 120

_KEYS = ("name", "function", "type", "arguments", "parameters", "id")
_BARE = re.compile(r"\s*(?:```\w*\s*)?(?:\[\s*)?\{\s*[\"']?")
_BARE_BEGUN = re.compile(r"\s*(?:`{0,2}|(?:```\w*\s*)?(?:\[\s*)?)")
_LETTERS = re.compile(r"\w*")
_FENCE = re.compile(r"\s*(?:```\w*\s*)?")
_LINE = re.compile(r"^", re.MULTILINE)
_BETWEEN = re.compile(r"(?:[\s,;]|```(?:json)?)*")
_NAMED = re.compile(r"\s*([\w.-]+)\s*(?:\[CALL_ID\]\w*)?(?:\[ARGS\])?\s*(?=\{)")
_FUNCTION = re.compile(r"\s*<function=([^>\s]+)>(.*?)(</function>|$)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\s]+)>\n?(.*?)\n?(</parameter>|$)", re.DOTALL)
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")

Call = tuple[str, dict[str, Any]]
"""A tool's name and the arguments."""


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """What an answer came to."""

    text: str
    """The rest of the answer's text, after what was let through."""
    calls: tuple[Call, ...]
    problems: tuple[str, ...]
    """What looked like a call and was none, or did not fit."""


@dataclass(frozen=True, slots=True)
class _Region:
    """A place where calls stand: with a mark or bare, what was read, its text, what follows it."""

    marked: bool
    values: list[Any]
    text: str
    behind: str


class ToolCallParser:
    """Reads one answer."""

    def __init__(self, tools: Sequence[Tool], family: Family = "hermes") -> None:
        self._schemas = {tool.function.name: tool.function.parameters for tool in tools}
        self._mark, self._closing = MARKS[family]
        self._held = ""
        self._at_line_start = True
        self._calling = False
        self._cut_off = False

    def feed(self, text: str) -> str:
        """Take a piece of the answer; what of it is certainly no call."""
        self._held += text
        if self._calling:
            return ""
        end = min(self._marked(), self._bare())
        released, self._held = self._held[:end], self._held[end:]
        if released:
            self._at_line_start = released.endswith("\n")
        return released

    def finish(self, *, cut_off: bool = False) -> ToolCalls:
        """Nothing more comes; `cut_off`: the model would have gone on."""
        self._cut_off = cut_off
        if not self._calling:
            return ToolCalls(self._held, (), ())
        calls: list[Call] = []
        problems: list[str] = []
        beside = ""
        for region in self._regions():
            judged = [self._judged(value, region.marked) for value in region.values]
            calls += [found for found in judged if isinstance(found, tuple)]
            problems += [found for found in judged if isinstance(found, str)]
            if region.marked and not judged:
                what = _quoted(region.text + region.behind)
                problems.append(f"What follows {self._mark} is no call: {what}.")
                continue
            beside += region.behind if any(judged) else region.text + region.behind
        beside = beside.replace(self._closing, "").strip("` \n")
        if calls and beside:
            problems.append(f"The model wrote this beside its call: {_quoted(beside)}.")
        return ToolCalls("" if calls else self._held, tuple(calls), tuple(problems))

    def _marked(self) -> int:
        """Where a mark stands or may have begun, else the end."""
        place = self._held.find(self._mark)
        if place >= 0:
            self._calling = True
            return place
        longest = min(len(self._held), len(self._mark) - 1)
        begun = (n for n in range(longest, 0, -1) if self._held.endswith(self._mark[:n]))
        return len(self._held) - next(begun, 0)

    def _bare(self) -> int:
        """Where a line begins, or may have begun, as a bare call does; else the end."""
        for line in _LINE.finditer(self._held, 0 if self._at_line_start else 1):
            verdict = _begins_bare(self._held, line.start())
            if verdict is not False:
                self._calling = self._calling or verdict is True
                return line.start()
        return len(self._held)

    def _regions(self) -> Iterator[_Region]:
        """What was held, cut before each mark."""
        position = 0
        while position < len(self._held):
            marked = self._held.startswith(self._mark, position)
            start = position + len(self._mark) if marked else _fence_end(self._held, position)
            values, end = self._values(start)
            following = self._held.find(self._mark, end)
            position = following if following >= 0 else len(self._held)
            yield _Region(marked, values, self._held[start:end], self._held[end:position])

    def _values(self, start: int) -> tuple[list[Any], int]:
        """The values written from here on, and where they end."""
        stops = (self._held.find(tag, start) for tag in (self._closing, self._mark))
        stop = min((place for place in stops if place >= 0), default=len(self._held))
        cut_off = self._cut_off
        values, length = _read_values(
            self._held[start:stop], ended=stop < len(self._held), cut_off=cut_off
        )
        if not values:
            # The tag may be part of a text in the arguments.
            values, length = _read_values(self._held[start:], ended=False, cut_off=cut_off)
        return values, start + length

    def _judged(self, value: Any, marked: bool) -> Call | str | None:  # noqa: FBT001
        """A call, a problem, or nothing of the kind."""
        function = value.get("function") if isinstance(value, dict) else None
        if isinstance(function, dict):
            value = function
        elif isinstance(function, str):
            value = {"name": function, **value}
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            return f"A call names no tool: {describe(value)}." if marked else None
        if not marked and not value.keys() & {"arguments", "parameters"}:
            return None
        try:
            return self._fitted(value["name"], _arguments(value))
        except (ValueError, RecursionError) as error:
            return f"The call of {value['name'][:64]!r} does not fit: {error}."

    def _fitted(self, name: str, arguments: Any) -> Call:
        if name not in self._schemas:
            close = difflib.get_close_matches(name[:64], self._schemas, n=1)
            hint = f" (is {close[0]!r} meant?)" if close else ""
            raise ValueError(f"there is no such tool{hint}")
        if not isinstance(arguments, dict):
            raise Misfit(("arguments",), describe(arguments), "an object")
        fitted = fit(self._schemas[name], arguments, ("arguments",))
        _check_characters(fitted)
        return name, fitted


def _arguments(value: Mapping[str, Any]) -> Any:
    """The arguments of a call, which may be JSON in a text."""
    written_as = value.keys() & {"arguments", "parameters"}
    others = value.keys() - set(_KEYS)
    if len(written_as) > 1:
        raise ValueError("it has `arguments` and `parameters`")
    if others and not written_as:
        raise ValueError(f"it has {_quoted(min(others))} and no `arguments`")
    found = value.get("arguments", value.get("parameters"))
    if isinstance(found, str) and found.strip():
        written = found
        found, end = read(written, ended=True)
        if written[end:].strip("}] \n"):
            raise ValueError(f"behind its arguments stands {_quoted(written[end:])}")
    return found or {}


def _check_characters(arguments: Mapping[str, Any]) -> None:
    """Refuse what a client could not send back."""
    written = json.dumps(arguments, ensure_ascii=False)
    try:
        written.encode()
    except UnicodeEncodeError:
        raise ValueError("its arguments have half of a character") from None
    if _NUL.search(written):
        raise ValueError("its arguments have the character NUL")


def _begins_bare(text: str, start: int) -> bool | None:
    """Whether a bare call begins here; None when more has to be seen."""
    head = _BARE.match(text, start)
    if head is None:
        return None if _BARE_BEGUN.fullmatch(text, start) else False
    key = _LETTERS.match(text, head.end())
    assert key is not None
    if key.end() == len(text):
        return None if any(known.startswith(key[0]) for known in _KEYS) else False
    return key[0] in _KEYS


def _fence_end(text: str, start: int) -> int:
    fence = _FENCE.match(text, start)
    assert fence is not None
    return fence.end()


def _read_values(text: str, *, ended: bool, cut_off: bool) -> tuple[list[Any], int]:
    """The calls that a text begins with, however they are written."""
    if _FUNCTION.match(text):
        return _read_functions(text, ended=ended, cut_off=cut_off)
    named = _NAMED.match(text)
    position = named.end() if named else 0
    values: list[Any] = []
    while not values or text.startswith("{", position):
        try:
            value, length = read(text[position:], ended=ended, cut_off=cut_off)
        except (ValueError, RecursionError):
            break
        values += value if isinstance(value, list) else [value]
        position += length
        between = _BETWEEN.match(text, position)
        assert between is not None
        position = between.end()
    if named:
        values = [{"name": named[1], "arguments": value} for value in values]
    return values, position


def _read_functions(text: str, *, ended: bool, cut_off: bool) -> tuple[list[Any], int]:
    """Calls in the newer Qwens' way, up to one whose last parameter may have been going on."""
    values: list[Any] = []
    position = 0
    while function := _FUNCTION.match(text, position):
        parameters: dict[str, Any] = {}
        is_closed = ended or function[3]
        if cut_off and not is_closed:
            break
        for name, words, tag in _PARAMETER.findall(function[2]):
            if name in parameters or not (tag or is_closed):
                return values, position
            parameters[name] = _typed(words)
        values.append({"name": function[1], "arguments": parameters})
        position = function.end()
    return values, position


def _typed(words: str) -> Any:
    """A parameter's value: a list or an object where it reads as one, else the text itself."""
    if not words.startswith(("{", "[")):
        return words
    try:
        return json.loads(words)
    except (ValueError, RecursionError):
        return words


def _quoted(text: str) -> str:
    text = text.strip()
    short = text[:QUOTED_CHARACTERS_MAX]
    return repr(short) + ("…" if len(text) > len(short) else "")


def find_family(template_source: str) -> Family:
    """How the model of a template writes calls; the Hermes form is also what we describe."""
    for family, (mark, _) in MARKS.items():
        if mark in template_source:
            return family
    return "llama3" if "<|eot_id|>" in template_source else "hermes"
