"""Messages become a prompt with the prefix at its head, whatever the template does."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.chat.builtin import TEMPLATES, choose
from rkllmd.chat.template import PREFIXES_KEPT, ChatTemplate
from rkllmd.errors import Code, EngineError, RequestError
from rkllmd.protocol.messages import (
    CalledFunction,
    Message,
    TextPart,
    Tool,
    ToolCall,
    ToolFunction,
)

BUILT_IN = {name: ChatTemplate(source, "<s>", "</s>") for name, source in TEMPLATES.items()}
names = pytest.mark.parametrize("name", sorted(BUILT_IN))

TIMER = Tool(
    ToolFunction(
        "set_timer",
        "Sets a timer.",
        {"type": "object", "properties": {"minutes": {"type": "integer"}, "a": {"type": "string"}}},
    )
)
LIGHT = Tool(ToolFunction("light", "Switches a light: é <b>."))
CALL = ToolCall(CalledFunction("set_timer", '{"minutes": 5}'), id="call_8Fz")

texts = st.text(max_size=40)
spoken = st.one_of(
    st.builds(Message, st.just("user"), texts),
    st.builds(Message, st.just("assistant"), texts),
    st.builds(Message, st.sampled_from(["tool", "system", "developer"]), texts),
    st.just(Message("assistant", None, tool_calls=(CALL, CALL))),
    st.just(Message("tool", "done", call_id="call_8Fz", name="set_timer")),
)


@names
@given(
    system=texts,
    user=texts,
    rest=st.lists(spoken, max_size=5),
    tools=st.sampled_from([(), (TIMER,), (TIMER, LIGHT)]),
    thinking=st.booleans(),
)
def test_every_conversation_begins_with_the_prefix(name, system, user, rest, tools, thinking):
    template = BUILT_IN[name]
    prefix = template.render_prefix(system, tools, thinking)
    messages = [Message("system", system), Message("user", user), *rest]
    rendered = template.render(messages, tools, thinking)
    assert rendered.text.startswith(prefix)
    assert rendered.prefix_characters == len(prefix)
    assert system in prefix
    assert all(tool.function.name in prefix for tool in tools)


@names
@given(conversation=st.lists(spoken, max_size=8))
def test_every_conversation_is_rendered(name, conversation):
    rendered = BUILT_IN[name].render(conversation, (TIMER,))
    for message in conversation:
        if message.role != "assistant":
            assert json.dumps(message.content, ensure_ascii=False)[1:-1] in rendered.text or (
                message.content in rendered.text
            )


@names
def test_a_prefix_ends_where_the_user_begins(name):
    template = BUILT_IN[name]
    rendered = template.render([Message("system", "Be brief."), Message("user", "Hello")])
    assert rendered.text[rendered.prefix_characters :].startswith("Hello")


@names
def test_without_system_and_tools_the_prefix_is_the_templates_own(name):
    template = BUILT_IN[name]
    rendered = template.render([Message("user", "Hello")])
    assert rendered.text[rendered.prefix_characters :].startswith("Hello")
    assert template.render_prefix(None) == rendered.text[: rendered.prefix_characters]


@names
def test_the_same_tools_in_another_order_are_the_same_prompt(name):
    template = BUILT_IN[name]
    swapped = Tool(
        ToolFunction(
            "set_timer",
            "Sets a timer.",
            {
                "properties": {"a": {"type": "string"}, "minutes": {"type": "integer"}},
                "type": "object",
            },
        )
    )
    messages = [Message("user", "Hello")]
    assert template.render(messages, (TIMER, LIGHT)) == template.render(messages, (LIGHT, swapped))


@names
def test_the_same_conversation_with_other_call_ids_is_the_same_prompt(name):
    def conversation(identity):
        call = ToolCall(CalledFunction("light", {}), id=identity)
        return [
            Message("user", "Light"),
            Message("assistant", None, tool_calls=(call,)),
            Message("tool", "on", call_id=identity),
        ]

    template = BUILT_IN[name]
    assert template.render(conversation("a1"), (LIGHT,)) == template.render(
        conversation("b2"), (LIGHT,)
    )


def test_answers_that_name_no_call_are_those_of_the_calls_in_their_order():
    calls = tuple(ToolCall(CalledFunction("light", {"n": n})) for n in range(2))
    conversation = [
        Message("user", "Light"),
        Message("assistant", None, tool_calls=calls),
        Message("tool", "first"),
        Message("tool", "second"),
        Message("tool", "one too many"),
    ]
    named = [
        Message("user", "Light"),
        Message(
            "assistant",
            None,
            tool_calls=tuple(replace(c, id=i) for c, i in zip(calls, "ab", strict=True)),
        ),
        Message("tool", "first", call_id="a"),
        Message("tool", "second", call_id="b"),
        Message("tool", "one too many", call_id="b"),
    ]
    for template in (BUILT_IN["mistral"], BUILT_IN["llama3"]):
        assert template.render(conversation, (LIGHT,)) == template.render(named, (LIGHT,))
    other = ToolCall(CalledFunction("dim", {}))
    by_name = [
        conversation[0],
        Message("assistant", None, tool_calls=(*calls, other)),
        *(Message("tool", name, name=name) for name in ("dim", "light")),
    ]
    text = BUILT_IN["mistral"].render(by_name, (LIGHT,)).text
    assert '{"content": "dim", "call_id": "call00002"}' in text
    assert '{"content": "light", "call_id": "call00000"}' in text
    swapped = [*named[:2], named[3], named[2]]
    text = BUILT_IN["mistral"].render(swapped, (LIGHT,)).text
    assert '{"content": "second", "call_id": "call00001"}' in text


def test_chatml_is_what_it_is():
    messages = [
        Message("developer", "Be brief."),
        Message("user", (TextPart("He"), TextPart("llo"))),
        Message("assistant", "<think>\nA greeting.\n</think>\n\nHi!"),
        Message("user", "Bye"),
    ]
    assert BUILT_IN["chatml"].render(messages).text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\nHi!<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert (
        not BUILT_IN["chatml"]
        .render(messages, add_generation_prompt=False)
        .text.endswith("assistant\n")
    )


def test_llama3_is_what_it_is():
    messages = [Message("system", "Be brief."), Message("user", "Hello")]
    assert BUILT_IN["llama3"].render(messages).text == (
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_gemma_and_mistral_take_the_system_text_into_the_first_turn_and_alternate():
    messages = [
        Message("system", "Be brief."),
        Message("user", "Hello"),
        Message("user", "Anybody?"),
        Message("assistant", "Yes."),
        Message("assistant", "Here."),
    ]
    assert BUILT_IN["gemma"].render(messages).text == (
        "<s><start_of_turn>user\nBe brief.\n\nHello\n\nAnybody?<end_of_turn>\n"
        "<start_of_turn>model\nYes.\n\nHere.<end_of_turn>\n<start_of_turn>model\n"
    )
    assert BUILT_IN["mistral"].render(messages).text == (
        "<s>[INST] Be brief.\n\nHello\n\nAnybody?[/INST] Yes.\n\nHere.</s>"
    )


def test_phi_and_deepseek_are_what_they_are():
    messages = [Message("system", "Be brief."), Message("user", "Hello")]
    assert BUILT_IN["phi"].render(messages).text == (
        "<|system|>\nBe brief.<|end|>\n<|user|>\nHello<|end|>\n<|assistant|>\n"
    )
    silent = BUILT_IN["deepseek"].render(messages).text
    assert silent == ("<s>Be brief.<｜User｜>Hello<｜Assistant｜><think>\n\n</think>\n\n")
    assert BUILT_IN["deepseek"].render(messages, (), True).text.endswith("<｜Assistant｜><think>\n")


def test_qwen3_thinks_only_when_asked():
    messages = [Message("user", "Hello")]
    assert BUILT_IN["qwen3"].render(messages).text.endswith("<think>\n\n</think>\n\n")
    assert BUILT_IN["qwen3"].render(messages, (), True).text.endswith("assistant\n")


def test_tools_that_a_template_does_not_know_are_described_in_the_system_text():
    messages = [
        Message("user", "Five minutes"),
        Message("assistant", "Right.", tool_calls=(CALL,)),
        Message("tool", "ok", call_id="call_8Fz"),
        Message("tool", "ok too"),
    ]
    rendered = BUILT_IN["chatml"].render(messages, (TIMER, LIGHT))
    described = rendered.text[: rendered.prefix_characters]
    assert described.index('"light"') < described.index('"set_timer"')
    assert "é <b>." in described
    assert rendered.text.endswith(
        "<|im_start|>assistant\nRight.\n<tool_call>\n"
        '{"name": "set_timer", "arguments": {"minutes": 5}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\nok\n</tool_response>\n"
        "<tool_response>\nok too\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


DROPS_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'user' %}U:{{ m.content | trim }}\n"
    "{% endif %}{% endfor %}A:"
)
SYSTEM_LAST = (
    "{% for m in messages if m.role != 'system' %}"
    "{% if loop.last and messages[0].role == 'system' %}S:{{ messages[0].content }}\n{% endif %}"
    "{{ m.role }}:{{ m.content }}\n{% endfor %}"
)
TOOLS_LAST = (
    "{% for m in messages %}{% if loop.last %}"
    "{% for t in tools or [] %}T:{{ t.function.name }} {% endfor %}{% endif %}"
    "{{ m.role }}:{{ m.content }}\n{% endfor %}"
)
ASKED_ONLY = (
    "{% set asked = namespace(yes=false) %}{% for t in tools or [] %}{{ t.function.name }}"
    "{% endfor %}{% for m in messages %}{% if m.role == 'user' %}"
    "{{ raise_exception('twice') if loop.previtem and loop.previtem.role == 'user' }}"
    "[{{ m.content }}]{% endif %}{% for c in m.tool_calls or [] %}{% set asked.yes = true %}"
    "({{ c.function.name }}){% endfor %}"
    "{% if m.role == 'tool' and asked.yes %}{{ '{' + m.content + '}' }}{% endif %}{% endfor %}"
)
SILENT = (
    "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}{% for m in messages %}"
    "{% if m.content is not none %}{{ m.role }}:{{ m.content }}|"
    "{% else %}{% for c in m.tool_calls %}{{ c.function.name }}|{% endfor %}{% endif %}{% endfor %}"
)
DATED = "{{ strftime_now('%d %b %Y') }}{{ messages[-1].content }}"
ARGUMENTS = (
    "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}"
    "{% for m in messages %}{% for c in m.tool_calls or [] %}"
    "{{ c.function.name }} {{ 'json ' + c.function.arguments }}|"
    "{{ c.function.arguments | tojson }}|{{ c.function.arguments.minutes }}{% endfor %}{% endfor %}"
)


def test_a_template_that_drops_the_system_text_still_gets_it_said():
    template = ChatTemplate(DROPS_SYSTEM)
    messages = [Message("system", "Be brief. "), Message("user", " Hello")]
    rendered = template.render(messages)
    assert rendered.text == "U:Be brief. \n\n Hello\nA:"
    # It trims, so what comes between the system text and the user's may vanish.
    assert rendered.text[: rendered.prefix_characters] == "U:Be brief."
    assert template.render([messages[0], Message("user", " ")]).prefix_characters == 11


def test_a_template_that_moves_the_system_text_gets_it_into_the_first_turn():
    template = ChatTemplate(SYSTEM_LAST)
    head = [Message("system", "Be brief."), Message("user", "Hello")]
    longer = [*head, Message("assistant", "Hi"), Message("user", "Bye")]
    assert template.render(head).text == "user:Be brief.\n\nHello\n"
    assert template.render(longer).text.startswith(template.render_prefix("Be brief."))


def test_a_template_that_moves_the_tools_tells_how_much_of_the_prefix_is_there():
    template = ChatTemplate(TOOLS_LAST)
    head = [Message("system", "Be brief."), Message("user", "Hello")]
    whole = template.render_prefix("Be brief.", (LIGHT,))
    assert whole == "system:Be brief.\nT:light user:"
    assert template.render(head, (LIGHT,)).prefix_characters == len(whole)
    longer = [*head, Message("assistant", "Hi"), Message("user", "Bye")]
    assert template.render(longer, (LIGHT,)).prefix_characters == len("system:Be brief.\n")


def test_a_template_that_drops_calls_gets_them_in_words():
    template = ChatTemplate(TOOLS_LAST)
    text = template.render([Message("assistant", None, tool_calls=(CALL,))], (TIMER,)).text
    assert 'assistant:<tool_call>\n{"name": "set_timer"' in text


def test_a_template_that_drops_answers_that_nobody_asked_for_gets_them_from_the_user():
    conversation = [Message("user", "Light"), Message("tool", "It is on.")]
    assert ChatTemplate(ASKED_ONLY).render(conversation).text == "[Light\n\nIt is on.]"
    called = [Message("assistant", None, tool_calls=(CALL,)), Message("tool", "ok")]
    assert ChatTemplate(ASKED_ONLY).render(called).text == "(set_timer){ok}"


def test_a_template_that_tells_calls_by_silence_hears_it():
    called = [Message("user", "Five"), Message("assistant", "", tool_calls=(CALL,))]
    assert ChatTemplate(SILENT).render(called).text == "user:Five|set_timer|"


def test_a_template_that_needs_a_list_of_tools_gets_an_empty_one():
    source = "{% for t in tools %}{{ t.function.name }}{% endfor %}{{ messages[-1].content }}"
    assert ChatTemplate(source).render([Message("user", "Hello")]).text == "Hello"


def test_no_clock_is_in_the_prompt():
    assert ChatTemplate(DATED).render([Message("user", "Hello")]).text == "26 Jul 2024Hello"


def test_arguments_are_an_object_and_a_text():
    rendered = ChatTemplate(ARGUMENTS).render([Message("assistant", None, tool_calls=(CALL,))])
    assert rendered.text == 'set_timer json {"minutes": 5}|{"minutes": 5}|5'


def test_arguments_that_are_no_object_stay_what_they_were():
    for wrong in ("[1]", "{", "null", "[" * 100_000):
        call = ToolCall(CalledFunction("light", wrong))
        rendered = BUILT_IN["chatml"].render([Message("assistant", None, tool_calls=(call,))])
        assert f'"arguments": {wrong}}}' in rendered.text


WALKS = (
    "{{ tools }}{% for m in messages %}{{ m.content }}{% for call in m.tool_calls or [] %}"
    "{{ call.function.name }}{% for k, v in call.function.arguments|items %}<{{ k }}>{{ v }}"
    "{% endfor %}{% endfor %}{% endfor %}"
)


def test_arguments_that_are_no_object_do_not_stop_a_template_that_walks_them():
    """A client sends back what a model wrote, and that need not be JSON."""
    template = ChatTemplate(WALKS)
    for written, shown in (('{"a": 1}', "f<a>1"), ("{bad", "f<arguments>{bad"), ("null", "f<")):
        call = ToolCall(CalledFunction("f", written))
        assert shown in template.render([Message("assistant", None, (call,))]).text


def test_what_training_marks_is_rendered_as_if_it_were_not_there():
    source = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    assert ChatTemplate(source).render([Message("user", "Hello")]).text == "Hello"


def test_json_is_written_as_models_know_it():
    template = ChatTemplate("{{ tools | tojson }}")
    assert '"Switches a light: é <b>."' in template.render([], (LIGHT,)).text


def test_prefixes_are_kept_but_not_all():
    template = ChatTemplate(TEMPLATES["chatml"])
    for number in range(PREFIXES_KEPT * 2):
        assert f"{number}!" in template.render_prefix(f"{number}!")
    assert len(template._prefixes) == PREFIXES_KEPT


def test_a_refusal_is_the_requests_fault_and_says_why():
    template = ChatTemplate("{{ raise_exception('no such thing.') }}")
    with pytest.raises(RequestError) as caught:
        template.render([Message("user", "Hello")])
    assert caught.value.code is Code.BAD_REQUEST
    assert (
        caught.value.message
        == "The model's chat template refuses this conversation: no such thing."
    )


@pytest.mark.parametrize(
    "source",
    [
        "{% for x in %}",
        "{{ 'open",
        "{% unknown %}",
        "{{ 1 | nofilter }}",
        "(" * 100 + "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}",
        "{% if 1 %}" * 300 + "{% endif %}" * 300,
        "{% for a in [1] %}" * 60 + "{% endfor %}" * 60,
        "x" * 300_000,
        "{% break %}",
    ],
)
def test_a_template_that_does_not_compile_says_so(source):
    with pytest.raises(EngineError) as caught:
        ChatTemplate(source).render([Message("user", "Hello")])
    assert caught.value.code in {Code.LOAD_FAILED, Code.ENGINE_ERROR}
    assert caught.value.message.endswith(".")
    assert len(caught.value.message) < 500


DOUBLED = "{% set n = namespace(s='a') %}{% for i in range(60) %}"
HOSTILE = [
    "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    "{% for a in range(99999999) %}{% endfor %}",
    "{{ range(10**9) | list }}",
    "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
    "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% for x in [1,2] recursive %}{{ loop([1,2]) }}{% endfor %}",
    "{% for x in [1,2] recursive %}{{ loop([1,2]) if loop.depth < 60 }}{% endfor %}",
    "{{ 'a' * 10**10 }}",
    "{{ 10**10 * 'a' }}",
    "{{ [0] * 10**10 }}",
    "{{ 10**10**10 }}",
    "{{ 'a'.ljust(10**10) }}",
    "{{ 'a'.center(width=10**10) }}",
    "{{ 'a'.zfill(10**10) }}",
    "{{ '%0999999999d' % 1 }}",
    "{{ '%0*d' % (999999999, 1) }}",
    "{{ '{:999999999}'.format(1) }}",
    "{{ '{:{}}'.format(1, 999999999) }}",
    "{{ '%0999999999d' | format(1) }}",
    "{{ 'a' | center(10**10) }}",
    "{{ 'a' | indent(10**10, true) }}",
    "{{ [1] | batch(10**10, 0) | list }}",
    "{{ [1] | tojson(indent=10**10) }}",
    DOUBLED + "{% set n.s = n.s + n.s %}{% endfor %}",
    DOUBLED + "{% set n.s = n.s ~ n.s %}{% endfor %}",
    DOUBLED + "{% set n.s = n.s | list + n.s | list %}{% endfor %}",
    DOUBLED + "{% set x %}{{ n.s }}{{ n.s }}{% endset %}{% set n.s = x %}{% endfor %}",
    DOUBLED + "{% set n.s = [n.s, n.s] | join %}{% endfor %}",
    "{% for i in range(90000) %}{{ 'a' * 1000 }}{% endfor %}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update({}) }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ self.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{% include 'etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% extends 'base' %}",
    "{{ 1 // 0 }}",
    "{{ nothing.at.all }}",
    "{{ lipsum() }}",
    "{{ [1, 2] | random }}",
]  # fmt: skip


@pytest.mark.parametrize("source", HOSTILE)
def test_a_hostile_template_ends_with_a_sentence(source):
    with pytest.raises((EngineError, RequestError)) as caught:
        ChatTemplate(source).render([Message("user", "Hello")])
    assert caught.value.message.endswith(".")


@given(source=st.text(alphabet="{}%-# '\"ab|.()[]~*+forinset=1\n", max_size=60))
def test_any_source_renders_or_is_a_clear_error(source):
    with suppress(EngineError):
        ChatTemplate(source).render([Message("user", "Hello")])


def test_a_template_of_a_thousand_turns_is_within_its_budget():
    turns = [Message("user", "Hello"), Message("assistant", "Hi")] * 5000
    assert BUILT_IN["chatml"].render(turns).text.count("<|im_end|>") == 10_000


def test_a_conversation_that_is_too_long_for_its_template_is_an_error_of_the_run():
    template = ChatTemplate(
        "{% for a in messages %}{% for b in messages %}{% endfor %}{% endfor %}"
    )
    with pytest.raises(EngineError) as caught:
        template.render([Message("user", "Hello"), Message("assistant", "Hi")] * 300)
    assert caught.value.code is Code.ENGINE_ERROR
    assert "steps" in caught.value.message


def test_a_template_that_refuses_blanks_has_a_prefix_all_the_same():
    source = "{{ messages[0].content | trim or raise_exception('Say something') }}"
    assert ChatTemplate("P:" + source).render_prefix(None) == "P:"


def test_the_setting_goes_before_the_files_own_template():
    assert choose("llama3", "own") == TEMPLATES["llama3"]
    assert choose("{{ messages }}", "own") == "{{ messages }}"
    assert choose(None, "own") == "own"
    assert choose(None, None) == TEMPLATES["chatml"]
    assert choose(None, "") == TEMPLATES["chatml"]


def test_an_unknown_name_says_which_there_are():
    with pytest.raises(EngineError) as caught:
        choose("lama3", "own")
    assert "did you mean 'llama3'?" in caught.value.message
    assert "mistral" in caught.value.message
