"""Calls are found in answers of every family, and nothing that is not one is passed on as one."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.chat.builtin import TEMPLATES
from rkllmd.chat.template import ChatTemplate
from rkllmd.chat.toolcalls import MARKS, ToolCallParser, ToolCalls, find_family
from rkllmd.protocol.messages import Tool, ToolFunction

TIMER = {
    "type": "object",
    "properties": {"minutes": {"type": "integer"}, "label": {"type": "string"}},
    "required": ["minutes"],
}
LAMP = {"type": "object", "properties": {"rooms": {"type": "array"}, "on": {"type": "boolean"}}}
TOOLS = (
    Tool(ToolFunction("set_timer", "Sets a timer.", TIMER)),
    Tool(ToolFunction("switch_lamp", "Switches a lamp.", LAMP)),
    Tool(ToolFunction("get_time", "Tells the time.")),
)
FIVE = ("set_timer", {"minutes": 5})
NOON = ("get_time", {})
WRITTEN = '{"name": "set_timer", "arguments": {"minutes": 5}}'
WRITTEN_NOON = '{"name": "get_time", "arguments": {}}'


def parse(pieces, family="hermes", tools=TOOLS):
    parser = ToolCallParser(tools, family)
    released = "".join(parser.feed(piece) for piece in pieces)
    result = parser.finish()
    return ToolCalls(released + result.text, result.calls, result.problems)


GOOD = [
    ("hermes", '<tool_call>\n{"name": "set_timer", "arguments": {"minutes": 5}}\n</tool_call>'),
    ("hermes", '<tool_call>{"name": "set_timer", "arguments": {"minutes": 5}}'),
    ("hermes", '<tool_call>{"name": "set_timer", "arguments": {"minutes": 5}'),
    ("hermes", '<tool_call>{"name": "set_timer", "arguments": {"minutes": 5</tool_call>'),
    ("hermes", "<tool_call>{'name': 'set_timer', 'arguments': {'minutes': 5,},}</tool_call>"),
    ("hermes", '<tool_call>{name: "set_timer", parameters: {minutes: "5"}}</tool_call>'),
    ("hermes", '<tool_call>{"name": "set_timer", "arguments": "{\\"minutes\\": 5}"}</tool_call>'),
    ("hermes", '<tool_call>{"function": "set_timer", "parameters": {"minutes": 5}}</tool_call>'),
    ("hermes", f'<tool_call>{{"type": "function", "function": {WRITTEN}}}</tool_call>'),
    ("hermes", '<tool_call>set_timer{"minutes": 5}</tool_call>'),
    ("hermes", '<tool_call>\nset_timer\n{"minutes": 5}\n</tool_call>'),
    (
        "hermes",
        "<tool_call>\n<function=set_timer>\n<parameter=minutes>\n5\n</parameter>\n</function>",
    ),
    ("hermes", '{"name": "set_timer", "arguments": {"minutes": 5}}'),
    ("hermes", '\n```json\n{"name": "set_timer", "arguments": {"minutes": 5}}\n```\n'),
    ("llama3", '<|python_tag|>{"name": "set_timer", "parameters": {"minutes": "5"}}<|eom_id|>'),
    ("llama3", '{"name": "set_timer", "parameters": {"minutes": 5}}'),
    ("llama3", '{"type": "function", "name": "set_timer", "parameters": {"minutes": 5}}'),
    ("mistral", '[TOOL_CALLS] [{"name": "set_timer", "arguments": {"minutes": 5}}]</s>'),
    ("mistral", '[TOOL_CALLS][{"name": "set_timer", "arguments": {"minutes": 5}, "id": "a"}]'),
    ("mistral", '[TOOL_CALLS]set_timer[ARGS]{"minutes": 5}'),
    ("mistral", '[TOOL_CALLS]set_timer[CALL_ID]abc123[ARGS]{"minutes": 5}'),
    ("mistral", '[{"name": "set_timer", "arguments": {"minutes": 5}}]'),
]


@pytest.mark.parametrize(("family", "answer"), GOOD)
def test_one_call(family, answer):
    assert parse([answer], family) == ToolCalls("", (FIVE,), ())
    assert parse(answer, family) == ToolCalls("", (FIVE,), ())


PARALLEL = [
    ("hermes", f"<tool_call>{WRITTEN}</tool_call>\n<tool_call>{WRITTEN_NOON}</tool_call>"),
    ("hermes", f'<tool_call>{WRITTEN}\n<tool_call>{{"name": "get_time"}}'),
    ("hermes", f"{WRITTEN}\n{WRITTEN_NOON}"),
    ("llama3", f"{WRITTEN}; {WRITTEN_NOON}".replace("arguments", "parameters")),
    ("mistral", f"[TOOL_CALLS] [{WRITTEN}, {WRITTEN_NOON.replace('{}', 'null')}]"),
    ("mistral", '[TOOL_CALLS]set_timer[ARGS]{"minutes": 5}[TOOL_CALLS]get_time[ARGS]{}'),
    ("hermes", f"```json\n{WRITTEN}\n```\n```json\n{WRITTEN_NOON}\n```"),
    (
        "hermes",
        "<tool_call>\n<function=set_timer>\n<parameter=minutes>5</parameter></function>\n<function=get_time>",
    ),
]


@pytest.mark.parametrize(("family", "answer"), PARALLEL)
def test_two_calls(family, answer):
    assert parse([answer], family) == ToolCalls("", (FIVE, NOON), ())


def test_text_before_a_call_is_answered_and_text_behind_it_is_named():
    answer = f"One moment.\n<tool_call>{WRITTEN}</tool_call>\nThe timer is set!"
    assert parse([answer]) == ToolCalls(
        "One moment.\n",
        (FIVE,),
        ("The model wrote this beside its call: 'The timer is set!'.",),
    )


def test_json_before_a_call_is_not_lost_in_silence():
    answer = f'{{"name": "Bob"}}\n<tool_call>{WRITTEN}</tool_call>'
    beside = """The model wrote this beside its call: '{"name": "Bob"}'."""
    assert parse([answer]) == ToolCalls("", (FIVE,), (beside,))


def test_what_stays_text_was_not_left_out():
    assert parse(['{"name": "Bob"} and more']).problems == ()


def test_a_closing_tag_inside_an_argument_is_text():
    answer = (
        '<tool_call>{"name": "set_timer", "arguments": {"minutes": 5, "label": "a</tool_call>b"}}'
        "</tool_call>"
    )
    assert parse([answer]).calls == (("set_timer", {"minutes": 5, "label": "a</tool_call>b"}),)


def test_lists_in_qwens_newer_form():
    answer = (
        "<tool_call>\n<function=switch_lamp>\n<parameter=rooms>\n[\"bath\"]\n</parameter>\n"
        "<parameter=on>\nTrue\n</parameter>\n</function>\n</tool_call>"
    )  # fmt: skip
    assert parse([answer]).calls == (("switch_lamp", {"rooms": ["bath"], "on": True}),)


MARKED = ("<tool_call>", "</tool_call>")
NO_CALLS = [
    ("hermes", '<tool_call>{"name": "set_tmer", "arguments": {}}</tool_call>', "'set_timer' meant"),
    ("hermes", '<tool_call>{"name": "set_timer", "arguments": {}}</tool_call>', "required"),
    (
        "hermes",
        '<tool_call>{"name": "set_timer", "arguments": {"minutes": "soon"}}</tool_call>',
        "allowed: integer",
    ),
    ("hermes", '<tool_call>{"name": "set_timer", "arguments": [5]}</tool_call>', "an object"),
    ("hermes", '<tool_call>{"name": "set_timer", "arguments": {"minutes": 5', "is no call"),
    ("hermes", "<tool_call>set_timer(minutes=5)</tool_call>", "is no call"),
    ("hermes", "<tool_call></tool_call>", "is no call"),
    ("hermes", "<tool_call>", "is no call"),
    ("hermes", "<tool_call>[1]</tool_call>", "names no tool"),
    ("hermes", '<tool_call>{"arguments": {}}</tool_call>', "names no tool"),
    ("hermes", '{"name": "no_such", "arguments": {}}', "no such tool"),
    ("llama3", '<|python_tag|>brave_search.call(query="x")', "is no call"),
    (
        "hermes",
        '<tool_call>{"name": "set_timer", "arguments": {"minutes": 5, "label": "\\ud800"}}',
        "half of a character",
    ),
    (
        "hermes",
        '<tool_call>{"name": "set_timer", "arguments": {"minutes": 5, "label": "\\\\\\u0000"}}',
        "NUL",
    ),
    ("hermes", '{"name": "switch_lamp", "args": {"on": true}}'.join(MARKED), "no `arguments`"),
    ("hermes", '{"name": "switch_lamp", "on": true}'.join(MARKED), "no `arguments`"),
    # What may mean two things.
    ("hermes", WRITTEN.replace("5", '5, "minutes": 50').join(MARKED), "is no call"),
    (
        "hermes",
        WRITTEN.replace('"', "'").replace("5", "5, 'minutes': 50").join(MARKED),
        "is no call",
    ),
    ("hermes", WRITTEN.replace("}}", '}, "name": "get_time"}').join(MARKED), "is no call"),
    ("hermes", WRITTEN.replace("}}", '}, "parameters": {}}').join(MARKED), "`parameters`"),
    (
        "hermes",
        '{"name": "set_timer", "arguments": "{\\"minutes\\": 5} {\\"minutes\\": 9}"}'.join(MARKED),
        "behind its arguments",
    ),
    ("hermes", "<tool_call><function=set_timer><parameter=minutes>5", "is no call"),
    (
        "hermes",
        "<function=set_timer><parameter=minutes>5</parameter><parameter=minutes>50</parameter>"
        "</function>".join(MARKED),
        "is no call",
    ),
    # What could only be guessed.
    ("hermes", WRITTEN.replace("5", "soon").join(MARKED), "is no call"),
    ("hermes", WRITTEN.replace("5", "005").join(MARKED), "is no call"),
    ("hermes", WRITTEN.replace("5", '"5 min"').join(MARKED), "allowed: integer"),
    ("hermes", WRITTEN.replace("5", "5.5").join(MARKED), "allowed: integer"),
    ("hermes", WRITTEN.replace("set_timer", "Set_Timer").join(MARKED), "no such tool"),
    ("hermes", "{'name': 'set_timer', 'arguments': {'label': 'a', not 'b'}}".join(MARKED), "is no"),
    (
        "hermes",
        '{"name": "set_timer", "arguments": {"minutes": 5, "label": "a}}'.join(MARKED),
        "is no",
    ),
]


@pytest.mark.parametrize(("family", "answer", "words"), NO_CALLS)
def test_what_is_no_call_stays_text_and_is_named(family, answer, words):
    result = parse(["Well.\n", answer], family)
    assert (result.text, result.calls) == (f"Well.\n{answer}", ())
    assert words in " ".join(result.problems)


def test_of_two_calls_the_one_that_fits_is_passed_on():
    unknown = WRITTEN.replace("set_timer", "no_such")
    answer = f"<tool_call>{WRITTEN}</tool_call><tool_call>{unknown}</tool_call>"
    result = parse([answer])
    assert result.calls == (FIVE,)
    assert "no such tool" in result.problems[0]


CUT_OFF = [
    ("hermes", WRITTEN[:-2]),
    ("hermes", WRITTEN[:-1]),
    ("hermes", f"<tool_call>{WRITTEN[:-2]}, "),
    ("hermes", f"<tool_call>{WRITTEN[:-1]}"),
    ("hermes", "<tool_call><function=set_timer><parameter=minutes>5</parameter>"),
    ("llama3", f"<|python_tag|>{WRITTEN[:-1]}"),
    ("mistral", f"[TOOL_CALLS][{WRITTEN}"),
    ("mistral", '[TOOL_CALLS]set_timer[ARGS]{"minutes": 5'),
]


@pytest.mark.parametrize(("family", "answer"), CUT_OFF)
def test_a_call_that_was_cut_off_is_none_since_more_may_have_come(family, answer):
    parser = ToolCallParser(TOOLS, family)
    parser.feed(answer)
    assert parser.finish(cut_off=True).calls == ()


def test_a_call_that_was_closed_before_the_cut_is_repaired():
    parser = ToolCallParser(TOOLS)
    parser.feed(f"<tool_call>{WRITTEN[:-1]}</tool_call><tool_call>{WRITTEN_NOON[:-1]}")
    assert parser.finish(cut_off=True).calls == (FIVE,)


PLAIN = [
    "It is noon.",
    '{"name": "Bob", "age": 5}',
    '{"city": "Rome"}',
    "{}",
    "[1, 2]",
    "```python\nprint(1)\n```",
    "a < b, <tool> and <tool_cal",
    'In a line: {"name": "set_timer", "arguments": {"minutes": 5}}',
    "",
    "\n\n",
    "{",
    "```",
]


@pytest.mark.parametrize("answer", PLAIN)
@pytest.mark.parametrize("family", MARKS)
def test_an_answer_without_calls_is_left_alone(family, answer):
    assert parse([answer], family) == ToolCalls(answer, (), ())
    assert parse(answer, family) == ToolCalls(answer, (), ())


def test_text_is_let_through_as_soon_as_it_cannot_be_a_call():
    parser = ToolCallParser(TOOLS)
    assert parser.feed("It") == "It"
    assert parser.feed(" is <") == " is "
    assert parser.feed("b>noon") == "<b>noon"
    assert parser.feed("\n{") == "\n"
    assert parser.feed('"na') == ""
    assert parser.feed("me of") == ""
    assert parser.feed("<tool_call") == ""


def test_an_answer_in_json_is_let_through_at_its_first_key():
    parser = ToolCallParser(TOOLS)
    assert parser.feed('{"c') == '{"c'
    assert ToolCallParser(TOOLS).feed('{"na') == ""


marks = ["<tool_call>", "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]", "[ARGS]", "```json"]
pieces = st.lists(
    st.sampled_from([
        *marks, "<", "tool", "\n", " ", "{", "}", "[", "]", '"', "'", ",", ":", "\\", "<function=",
        "get_time", '"name"', '"arguments"', "{}", WRITTEN_NOON, "é", "5",
    ]),
    max_size=15,
).map("".join)  # fmt: skip


@given(pieces, st.sampled_from(sorted(MARKS)), st.lists(st.integers(0, 120)))
def test_any_cut_gives_the_same_and_nothing_raises(answer, family, cuts):
    whole = parse([answer], family)
    edges = sorted({0, len(answer), *(cut for cut in cuts if cut < len(answer))})
    assert parse([answer[a:b] for a, b in pairwise(edges)], family) == whole
    assert parse(answer, family) == whole
    assert whole.calls or whole.text == answer
    assert answer.startswith(whole.text)


@given(st.text(), st.sampled_from(sorted(MARKS)))
def test_any_text_is_no_call(answer, family):
    assert parse(answer, family).text == answer


@given(st.text(max_size=30), st.integers(), st.text(max_size=30))
def test_any_argument_comes_through(label, minutes, before):
    call = {"name": "set_timer", "arguments": {"minutes": minutes, "label": label}}
    written = json.dumps(call, ensure_ascii=False)
    result = parse(f"{before}<tool_call>\n{written}\n</tool_call>")
    assert result.calls == (("set_timer", call["arguments"]),)
    assert result.text == before


@pytest.mark.parametrize(
    "hostile", ["[", "{", '{"a":', "<tool_call>", "```json\n", "'", "{}", "\n "]
)
def test_a_long_answer_of_nonsense_ends(hostile):
    result = parse(["<tool_call>", hostile * 2000])
    assert result.calls == ()


def test_deep_arguments_that_the_schema_walks_are_refused():
    loop = {"type": "array"}
    loop["items"] = loop
    tool = Tool(ToolFunction("deep", "", {"properties": {"a": loop}}))
    nested = "[" * 900 + "]" * 900
    result = parse(
        [f'<tool_call>{{"name": "deep", "arguments": {{"a": {nested}}}}}'], tools=(tool,)
    )
    assert result.calls == ()
    assert result.problems


def test_families_are_found():
    assert find_family(TEMPLATES["mistral"]) == "mistral"
    assert find_family(TEMPLATES["llama3"]) == "llama3"
    assert find_family("<tool_call> <|eot_id|>") == "hermes"
    # One that knows no tools is told of them in the Hermes form.
    assert ChatTemplate("<|eot_id|>{{ messages[0].content }}").tool_family == "hermes"
    assert ChatTemplate(TEMPLATES["llama3"]).tool_family == "llama3"
