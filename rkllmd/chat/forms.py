"""Which forms an answer may have: what `format` asks for, and calls of tools that are required.

A call is written in the way of the model's family, so that the parser of `toolcalls` finds it; the
marks of Llama 3 and Mistral are left out, since they are tokens without a text. Exactly one tool is
called. The object of a tool's arguments is closed where its schema does not say: a model that may
invent arguments does.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rkllmd.chat.toolcalls import MARKS, Family
from rkllmd.errors import Code, RequestError
from rkllmd.protocol.messages import Tool
from rkllmd.runs import Form
from rkllmd.shape import describe

SCHEMA_CHARACTERS_MAX = 65_536
ANY_OBJECT = {"type": "object"}
JOINING = frozenset(
    {"additionalProperties", "patternProperties", "allOf", "anyOf", "oneOf", "$ref"}
)
"""With these an object's properties are not all that it lists."""

Format = Mapping[str, Any] | Literal["json"] | None
ToolChoice = Literal["none", "auto", "required"] | Mapping[str, Any]


def forms_of(
    wanted: Format, tools: Sequence[Tool], choice: ToolChoice, family: Family
) -> tuple[Form, ...]:
    """The forms that an answer may have; none where it may be anything."""
    called = required_tools(tools, choice)
    answers = () if called or wanted is None else (json_form(wanted),)
    offered = called or (tools if answers and choice == "auto" else ())
    forms = (*answers, *(call_form(tool, family) for tool in offered))
    length = sum(len(form.schema) for form in forms)
    if length > SCHEMA_CHARACTERS_MAX:
        raise RequestError(
            Code.BAD_REQUEST,
            f"format, tools: found schemas of {length} characters, allowed:"
            f" {SCHEMA_CHARACTERS_MAX} where the answer has to fit them",
        )
    return forms


def required_tools(tools: Sequence[Tool], choice: ToolChoice) -> tuple[Tool, ...]:
    """The tools of which one has to be called; none where none has to."""
    if choice in ("none", "auto"):
        return ()
    required = tuple(
        tool for tool in tools if choice == "required" or tool.function.name == named(choice)
    )
    if not required:
        found = "`required`" if choice == "required" else describe(named(choice))
        names = ", ".join(tool.function.name for tool in tools) or "there are no tools"
        raise RequestError(
            Code.BAD_REQUEST,
            f"tool_choice: found {found}, allowed: none, auto, and where there are tools required"
            f" or the name of one ({names})",
            member="tool_choice",
        )
    return required


def named(choice: ToolChoice) -> object:
    """The name in `{"type": "function", "function": {"name": …}}`, or in `{"name": …}`."""
    if not isinstance(choice, Mapping):
        return choice
    function = choice.get("function", choice)
    return function.get("name") if isinstance(function, Mapping) else function


def json_form(wanted: Mapping[str, Any] | Literal["json"]) -> Form:
    """An answer that is JSON and nothing else."""
    return Form(json.dumps(ANY_OBJECT if isinstance(wanted, str) else wanted))


def call_form(tool: Tool, family: Family) -> Form:
    """A call of a tool as the parser reads it."""
    name = json.dumps(tool.function.name, ensure_ascii=False)
    schema = json.dumps(closed(tool.function.parameters))
    if family == "llama3":
        return Form(schema, f'{{"name": {name}, "parameters": ', "}")
    if family == "mistral":
        return Form(schema, f'[{{"name": {name}, "arguments": ', "}]")
    mark, closing = MARKS[family]
    return Form(schema, f'{mark}\n{{"name": {name}, "arguments": ', f"}}\n{closing}")


def closed(parameters: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The schema of a tool's arguments: an object that has no properties but the listed ones."""
    schema = {**ANY_OBJECT, **(parameters or {"properties": {}})}
    if "properties" in schema and not schema.keys() & JOINING:
        return {**schema, "additionalProperties": False}
    return schema
