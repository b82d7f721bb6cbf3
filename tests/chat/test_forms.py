"""Which forms are asked for, and that the parser of calls reads what they allow."""

import json

import pytest

from rkllmd.chat.forms import SCHEMA_CHARACTERS_MAX, forms_of
from rkllmd.chat.toolcalls import MARKS, ToolCallParser
from rkllmd.errors import RequestError
from rkllmd.protocol.messages import Tool, ToolFunction

LIGHT = {"type": "object", "properties": {"room": {"type": "string"}}, "required": ["room"]}
TOOLS = (
    Tool(ToolFunction("light", parameters=LIGHT)),
    Tool(ToolFunction('a "b" Ü')),
)


def test_nothing_is_asked_for():
    for choice in ("auto", "none"):
        assert forms_of(None, TOOLS, choice, "hermes") == ()


def test_json_is_any_object_and_a_schema_is_itself():
    (form,) = forms_of("json", (), "auto", "hermes")
    assert (json.loads(form.schema), form.opening, form.closing) == ({"type": "object"}, "", "")
    (form,) = forms_of(LIGHT, TOOLS, "none", "hermes")
    assert json.loads(form.schema) == LIGHT


@pytest.mark.parametrize("family", MARKS)
def test_a_call_that_fits_is_read_as_that_call(family):
    forms = forms_of(None, TOOLS, "required", family)
    for form, tool, written in zip(forms, TOOLS, ('{"room": "bath"}', "{}"), strict=True):
        parser = ToolCallParser(TOOLS, family)
        parser.feed(form.opening + written + form.closing)
        found = parser.finish()
        assert found.calls == ((tool.function.name, json.loads(written)),)
        assert (found.text, found.problems) == ("", ())


def test_a_tool_is_chosen_by_its_name():
    for choice in ({"name": "light"}, {"type": "function", "function": {"name": "light"}}):
        (form,) = forms_of(None, TOOLS, choice, "hermes")
        assert '"light"' in form.opening


def test_with_a_format_a_call_is_still_allowed_unless_it_is_forbidden():
    assert len(forms_of("json", TOOLS, "auto", "hermes")) == 3
    assert len(forms_of("json", TOOLS, "none", "hermes")) == 1
    assert len(forms_of("json", TOOLS, "required", "hermes")) == 2


@pytest.mark.parametrize(("parameters", "closed"), [
    (LIGHT, True), ({}, True), (None, True),
    ({"type": "object"}, None), ({**LIGHT, "additionalProperties": True}, True),
    ({**LIGHT, "anyOf": []}, None), ({"$ref": "#/x"}, None),
])  # fmt: skip
def test_arguments_that_are_not_listed_are_not_invented(parameters, closed):
    tool = Tool(ToolFunction("light", parameters=parameters))
    (form,) = forms_of(None, (tool,), "required", "hermes")
    schema = json.loads(form.schema)
    if closed:
        listed = (parameters or {}).get("additionalProperties", False)
        assert schema["additionalProperties"] is listed
    else:
        assert "additionalProperties" not in schema


@pytest.mark.parametrize(("tools", "choice", "words"), [
    ((), "required", "found `required`, allowed: .*there are no tools"),
    (TOOLS, {"name": "lihgt"}, "found 'lihgt'.*light, "),
    (TOOLS, {}, "found null"), (TOOLS, {"function": 3}, "found 3"),
    ((), {"name": "light"}, "there are no tools"),
])  # fmt: skip
def test_a_choice_of_no_tool_is_refused(tools, choice, words):
    with pytest.raises(RequestError, match=f"tool_choice: .*{words}"):
        forms_of(None, tools, choice, "hermes")


def test_a_schema_has_a_longest():
    with pytest.raises(RequestError, match="found schemas of"):
        forms_of({"enum": ["a" * SCHEMA_CHARACTERS_MAX]}, (), "auto", "hermes")
