"""Tool calls through the whole daemon, as a model of each family writes them.

The runtime is simulated: what the model says is written into its script. The rest is real, the
clients among it.
"""

import json

import ollama
import openai
import pytest

from tests.daemon.household import Household
from tests.fakes.rkllm.built import NEWEST, built, make_model
from tests.http.conftest import served

ROOM = {"type": "string", "enum": ["bath", "kitchen"]}
LIGHT = {
    "type": "function",
    "function": {
        "name": "light",
        "description": "Switches a light.",
        "parameters": {"type": "object", "properties": {"room": ROOM}, "required": ["room"]},
    },
}
BATH, KITCHEN = ("light", {"room": "bath"}), ("light", {"room": "kitchen"})
TEMPLATES = {"hermes": "chatml", "qwen": "qwen3", "llama": "llama3", "mistral": "mistral"}
ONE = '{"name": "light", "arguments": {"room": "bath"}}'
OTHER = '{"name": "light", "arguments": {"room": "kitchen"}}'
SAID = {
    "hermes": f"<tool_call>{ONE}</tool_call><tool_call>{OTHER}</tool_call>",
    "qwen": f"At once. <tool_call>{ONE}</tool_call> <tool_call>{OTHER}",
    "llama": f"<|python_tag|>[{ONE}, {OTHER}]".replace("arguments", "parameters"),
    "mistral": f"[TOOL_CALLS] [{ONE}, {OTHER}]",
}
QUESTION = {"role": "user", "content": "Make light."}


class Speaking(Household):
    """A household whose models say what a test tells them to."""

    def says(self, text: str) -> None:
        """What every model answers from now on."""
        (self.folder / "script").write_text(f"answer={text}\n")


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """One daemon with a model of each family."""
    folder = tmp_path_factory.mktemp("tools")
    home = served(Speaking(folder, make_model(folder / "model")))
    (home.models / "parrot" / "model.gguf").unlink()
    (home.models / "parrot").rmdir()
    for name, template in TEMPLATES.items():
        (home.models / name).mkdir()
        make_model(home.models / name / "model.rkllm", name=name)
        (home.models / name / "model.yaml").write_text(f"template: {template}\n")
    home.settings += [f"engine.library={built(NEWEST)}", "models.preload=none"]
    home.start(RKLLM_SIM_SCRIPT=str(folder / "script"))
    yield home
    home.close()


@pytest.fixture
def client(house):
    with openai.OpenAI(base_url=f"http://127.0.0.1:{house.port}/v1", api_key="none") as found:
        yield found


def ask(client, model, messages, *, stream=False, **members):
    """An answer as its text, its calls with their ids, why it ended, and its warnings."""
    asked = {"model": model, "messages": messages, "tools": [LIGHT], "stream": stream, **members}
    answer = client.chat.completions.create(**asked)
    if not stream:
        choice = answer.choices[0]
        text, calls, reason = (
            choice.message.content,
            choice.message.tool_calls,
            choice.finish_reason,
        )
        warnings = getattr(answer, "warnings", [])
    else:
        chunks = list(answer)
        deltas = [chunk.choices[0].delta for chunk in chunks]
        text = "".join(delta.content or "" for delta in deltas)
        calls = [call for delta in deltas for call in delta.tool_calls or ()]
        assert [call.index for call in calls] == list(range(len(calls)))
        reason, warnings = chunks[-1].choices[0].finish_reason, getattr(chunks[-1], "warnings", [])
    return text or "", calls or [], reason, warnings


def plain(calls):
    return [(call.function.name, json.loads(call.function.arguments)) for call in calls]


@pytest.mark.parametrize("family", TEMPLATES)
@pytest.mark.parametrize("stream", [False, True])
def test_parallel_calls_and_their_results(house, client, family, stream):
    messages, ids = [QUESTION], []
    for _ in range(2):
        house.says(SAID[family])
        text, calls, reason, _ = ask(client, family, messages, stream=stream)
        assert (plain(calls), reason) == ([BATH, KITCHEN], "tool_calls")
        assert text == ("At once. " if family == "qwen" else "")
        ids += [call.id for call in calls]
        messages.append(
            {
                "role": "assistant",
                "content": text or None,
                "tool_calls": [
                    {"id": call.id, "type": "function", "function": call.function.model_dump()}
                    for call in calls
                ],
            }
        )
        messages += [
            {"role": "tool", "tool_call_id": call.id, "content": '{"success": true}'}
            for call in reversed(calls)
        ]
        house.says("Both are on.")
        text, calls, reason, _ = ask(client, family, messages, stream=stream)
        assert (text, calls, reason) == ("Both are on.", [], "stop")
        messages += [{"role": "assistant", "content": text}, QUESTION]
    assert len(set(ids)) == 4, "clients match answers to calls over a whole conversation"


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("hermes", "<tool_call>{'name': 'light', 'arguments': {'room': 'bath',}}</tool_call>"),
        ("hermes", '<tool_call>{"name": "light", "arguments": {"room": "bath"'),
        ("qwen", f"```json {ONE} ```"),
        ("llama", '{"name": "light", "parameters": {"room": "bath"}} Done!'),
        ("mistral", '[TOOL_CALLS]light[ARGS]{"room": "bath"}'),
    ],
)
def test_what_a_small_model_gets_wrong_is_repaired(house, client, family, said):
    house.says(said)
    _, calls, reason, _ = ask(client, family, [QUESTION])
    assert (plain(calls), reason) == ([BATH], "tool_calls")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("said", "why"),
    [
        ('<tool_call>{"name": "light", "arguments": {"room": "moon"}}</tool_call>', "bath"),
        ('<tool_call>{"name": "light", "arguments": {}}</tool_call>', "required"),
        (
            '<tool_call>{"name": "lights", "arguments": {"room": "bath"}}</tool_call>',
            "no such tool",
        ),
    ],
)
def test_a_call_that_does_not_fit_is_text_and_named(house, client, said, why, stream):
    house.says(said)
    text, calls, reason, warnings = ask(client, "hermes", [QUESTION], stream=stream)
    assert (text, calls, reason) == (said, [], "stop")
    assert any(why in warning for warning in warnings), warnings


def test_a_call_that_max_tokens_cuts_off_is_none(house, client):
    """Its arguments can be read, and more of them may have come."""
    house.says(ONE)
    for most in range(1, 60):
        text, calls, reason, _ = ask(client, "hermes", [QUESTION], max_tokens=most)
        if reason != "length":
            break
        assert (ONE.startswith(text), calls) == (True, [])
    assert (plain(calls), reason) == ([BATH], "tool_calls")


def test_what_may_be_called_is_the_clients_choice(house, client):
    house.says(SAID["hermes"])
    text, calls, reason, _ = ask(client, "hermes", [QUESTION], tool_choice="none")
    assert (text, calls, reason) == (SAID["hermes"], [], "stop")
    _, calls, _, _ = ask(client, "hermes", [QUESTION], tool_choice="auto")
    assert plain(calls) == [BATH, KITCHEN]
    for choice in ("required", {"type": "function", "function": {"name": "light"}}):
        with pytest.raises(openai.BadRequestError) as caught:
            ask(client, "hermes", [QUESTION], tool_choice=choice)
        assert (caught.value.code, caught.value.param) == ("unsupported", "tool_choice")


@pytest.mark.parametrize("family", TEMPLATES)
def test_ollama_calls_and_answers_that_name_no_call(house, family):
    found = ollama.Client(f"http://127.0.0.1:{house.port}")
    house.says(SAID[family])
    asked = {"model": family, "tools": [LIGHT]}
    whole = found.chat(**asked, messages=[QUESTION]).message
    pieces = [one.message for one in found.chat(**asked, messages=[QUESTION], stream=True)]
    streamed = [call for one in pieces for call in one.tool_calls or ()]
    for calls in (whole.tool_calls, streamed):
        assert [(call.function.name, call.function.arguments) for call in calls] == [BATH, KITCHEN]
    house.says("Both are on.")
    results = [{"role": "tool", "content": '{"success": true}'}] * 2
    told = found.chat(**asked, messages=[QUESTION, whole, *results])
    assert told.message.content == "Both are on."
    found._client.close()
