"""Answers that are held to a form, on both engines that can: they fit, or end with `length`."""

import json

import pytest
from jsonschema import ValidationError, validate

from rkllmd.client import DaemonError
from tests.daemon.household import SYSTEM, Household
from tests.http.conftest import served


@pytest.fixture(scope="module", params=["tiny", "llama"])
def running(request, tmp_path_factory, parrot):
    """A daemon for tests that change nothing in it, on each engine."""
    home = served(Household(tmp_path_factory.mktemp("home"), parrot), "engine.threads=1")
    (home.models / "parrot" / "model.yaml").write_text(f"engine: {request.param}\n")
    home.start(PYTHONDEVMODE="1")
    yield home
    home.close()


LIGHT = {
    "type": "object",
    "properties": {
        "room": {"enum": ["kitchen", "bath", "Küche"]},
        "on": {"type": "boolean"},
        "percent": {"type": "integer", "minimum": 0, "maximum": 100},
    },
    "required": ["room", "on"],
    "additionalProperties": False,
}


def tool(name, parameters=None):
    function = {"name": name} if parameters is None else {"name": name, "parameters": parameters}
    return {"type": "function", "function": function}


OPEN = {name: value for name, value in LIGHT.items() if name != "additionalProperties"}
TOOLS = [tool("light", OPEN), tool("stop"), tool('say "hi"', LIGHT)]


@pytest.mark.parametrize("seed", range(4))
def test_an_answer_fits_its_schema(running, seed):
    done = running.ask(text="light", format=LIGHT, max_tokens=100, temperature=1.5, seed=seed)
    assert done["reason"] == "stop"
    validate(json.loads(done["text"]), LIGHT)


def by_socket(home, **members):
    """An answer by each way of telling it on the socket, as text and reason."""
    for stream in ("tokens", "sentences", "both", False):
        with home.client() as client:
            *events, done = client.events("chat", stream=stream, **members)
        deltas = [event["text"] for event in events if event["event"] == "delta"]
        if deltas and "speech" not in members:
            assert "".join(deltas) == done["text"]
        yield done["text"], done["reason"]


def by_http(home, **members):
    """The same over HTTP, as OpenAI and as Ollama have it."""
    schema, text = members.pop("format"), members.pop("text")
    members = {name: value for name, value in members.items() if name not in ("session", "stop")}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}}
    whole = home.http.chat(text, response_format=wanted, **members).json["choices"][0]
    yield whole["message"]["content"], whole["finish_reason"]
    *chunks, _ = home.http.chat(text, response_format=wanted, stream=True, **members).events
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    text_told = "".join(choice["delta"].get("content") or "" for choice in choices)
    yield text_told, choices[-1]["finish_reason"]
    options = {"num_predict": members["max_tokens"], "temperature": members["temperature"]}
    body = {"messages": [{"role": "user", "content": text}], "format": schema, "options": options}
    whole = home.http.post("/api/chat", {**body, "stream": False}).json
    for lines in ([whole], home.http.post("/api/chat", body).lines):
        yield "".join(line["message"]["content"] for line in lines), lines[-1]["done_reason"]


@pytest.mark.parametrize("most", [6, 100])
@pytest.mark.parametrize("temperature", [0, 1.5])
def test_by_whatever_way_an_answer_fits_or_ends_with_length(running, temperature, most):
    members = {"text": "light", "format": LIGHT, "max_tokens": most, "temperature": temperature}
    for told in (
        *by_socket(running, **members, stop=["room"]),
        *by_socket(running, **members, system=SYSTEM, session="a"),
        *by_socket(running, **members, use_cache=False, speech=True),
        *by_http(running, **members),
    ):
        text, reason = told
        assert reason == ("length" if most == 6 else "stop"), told
        if reason == "stop":
            validate(json.loads(text), LIGHT)


def test_what_looks_like_a_mark_is_a_text_in_a_form(running):
    """Marks of thoughts, calls and ends are no marks within an answer's JSON."""
    for word in ("<think>a</think>", "<tool_call>\n{}\n</tool_call>", "<|im_end|>", "A. B. **c**"):
        done = running.greedy("light", format={"const": word}, max_tokens=200)
        assert (json.loads(done["text"]), done["reason"]) == (word, "stop")
        parameters = {"properties": {"a": {"const": word}}, "required": ["a"]}
        with running.client() as client:
            events = list(
                client.events(
                    "chat", text="light", tools=[tool("say", parameters)], tool_choice="required",
                    max_tokens=300,
                )
            )  # fmt: skip
        called = [event["arguments"] for event in events if event["event"] == "tool_call"]
        assert called == [{"a": word}], events[-1]


def test_a_cancelled_answer_leaves_the_next_one_whole(running):
    schema = {"type": "array", "items": LIGHT, "minItems": 10_000}
    with running.client() as client:
        stream = client.events("chat", text="light", format=schema, session="c", stream="tokens")
        next(event for event in stream if event["event"] == "delta")
        assert running.ask("cancel", session="c")["cancelled"] == 1
        *_, done = stream
    assert done["reason"] == "cancelled"
    with pytest.raises((ValidationError, json.JSONDecodeError)):
        validate(json.loads(done["text"]), schema)
    again = running.greedy("light", format=LIGHT, max_tokens=100, session="c")
    validate(json.loads(again["text"]), LIGHT)


def test_complete_can_be_held_to_a_form_too(running):
    done = running.ask("complete", prompt="light", format={"enum": ["on", "off"]}, max_tokens=20)
    assert json.loads(done["text"]) in ("on", "off")


def test_json_is_an_object_or_ends_with_length(running):
    for seed in range(3):
        done = running.ask(text="light", format="json", max_tokens=30, temperature=2, seed=seed)
        assert done["text"].startswith("{")
        if done["reason"] == "stop":
            assert isinstance(json.loads(done["text"]), dict)
        else:
            assert (done["reason"], done["usage"]["completion_tokens"]) == ("length", 30)


def calls(household, **members):
    with household.client() as client:
        events = list(client.events("chat", text="light", tools=TOOLS, max_tokens=100, **members))
    return events[-1], [event for event in events if event["event"] == "tool_call"]


@pytest.mark.parametrize("seed", range(3))
def test_a_required_tool_is_called_with_arguments_that_fit(running, seed):
    done, called = calls(running, tool_choice="required", temperature=1.5, seed=seed)
    assert (done["reason"], done["text"], len(called)) == ("tool_calls", "", 1)
    if called[0]["name"] == "stop":
        assert called[0]["arguments"] == {}
    else:
        validate(called[0]["arguments"], LIGHT)


@pytest.mark.parametrize("name", ["light", "stop", 'say "hi"'])
def test_a_named_tool_is_called(running, name):
    for choice in ({"type": "function", "function": {"name": name}}, {"name": name}):
        done, called = calls(running, tool_choice=choice)
        assert (done["reason"], [call["name"] for call in called]) == ("tool_calls", [name])


def test_a_call_that_did_not_get_finished_is_none(running):
    done, called = calls(running, tool_choice={"name": "light"}, temperature=0)
    whole = done["usage"]["completion_tokens"]
    arguments = [event["arguments"] for event in called]
    for most in (1, whole // 2, whole - 1):
        with running.client() as client:
            *_, done = events = list(
                client.events(
                    "chat", text="light", tools=TOOLS, tool_choice={"name": "light"},
                    temperature=0, max_tokens=most,
                )
            )  # fmt: skip
        told = [event["arguments"] for event in events if event["event"] == "tool_call"]
        if told:  # What closes it may be missing, and nothing else.
            assert (most, done["reason"], told) == (whole - 1, "tool_calls", arguments)
        else:
            assert done["reason"] == "length"


def test_a_form_goes_on_where_others_took_the_worker(running):
    """A voice request interrupts the answer; it goes on in the middle of its form.

    What was said is cut into tokens anew then, and not always into the same, so that a model of
    random weights may go on with other words.
    """
    schema = {"type": "array", "items": LIGHT, "minItems": 12, "maxItems": 12}
    members = {"format": schema, "max_tokens": 1000, "temperature": 0, "stream": "tokens"}
    with running.client() as client:
        stream = client.events("chat", text="lights", priority="background", **members)
        next(event for event in stream if event["event"] == "delta")
        running.ask(text="hello", priority="voice", max_tokens=2)
        *_, done = stream
    assert done["reason"] == "stop"
    validate(json.loads(done["text"]), schema)


def test_what_cannot_be_kept_is_refused_in_words(running):
    for members, code, words in (
        ({"format": {"not": {"type": "null"}}}, "unsupported", '"not"'),
        ({"format": {"type": "integer", "multipleOf": 1 << 50}}, "unsupported", "multipleOf"),
        ({"format": {"$ref": "#"}}, "unsupported", "nothing fits it"),
        ({"format": {"type": "string", "pattern": "(?=a)"}}, "unsupported", "look-around"),
        ({"format": {"enum": []}}, "unsupported", "cannot be kept"),
        ({"format": {"$ref": "http://127.0.0.1:1/x"}}, "unsupported", "not present in a registry"),
        ({"format": {"enum": ["a" * 70_000]}}, "bad_request", "found schemas of 70"),
        ({"format": "json", "thinking": True}, "unsupported", "thinking"),
        ({"tools": TOOLS, "tool_choice": {"name": "lihgt"}}, "bad_request", "'lihgt'.*light, stop"),
        ({"tools": TOOLS, "tool_choice": {}}, "bad_request", "tool_choice"),
        ({"tool_choice": "required"}, "bad_request", "there are no tools"),
    ):
        with pytest.raises(DaemonError, match=words) as refused:
            running.greedy("light", **members)
        assert refused.value.code == code, members


def test_the_end_of_a_form_is_its_own(running):
    done = running.greedy("light", format=LIGHT, stop=["room"], max_tokens=100)
    validate(json.loads(done["text"]), LIGHT)
    assert any(warning.startswith("stop had no effect") for warning in done["warnings"])


def test_a_form_makes_no_other_cache(running):
    running.greedy("light", system=SYSTEM)
    usage = running.greedy("light", system=SYSTEM, format=LIGHT, max_tokens=60)["usage"]
    assert usage["cached_tokens"] > 0.9 * usage["prompt_tokens"]
