"""What real clients need, on a running daemon: the list of HTTP.md, by its numbers."""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.daemon.household import Household
from tests.fakes.rkllm.built import NEWEST, built, make_model
from tests.http.conftest import served
from tests.http.wire import chat_bytes, connected, read_until

TOOL = {
    "type": "function",
    "function": {"name": "light_on", "parameters": {"type": "object", "properties": {}}},
}
LONG = "The kettle is on the table and the cat is in the garden. " * 60


def text_of(answer):
    return answer.json["choices"][0]["message"]["content"]


@pytest.fixture
def loading(tmp_path):
    """A daemon whose only model, on the simulated runtime, never ends to load."""
    model = make_model(tmp_path / "parrot.rkllm", load="hang")
    home = served(Household(tmp_path, model))
    folder = home.models / "parrot"
    (folder / "model.gguf").rename(folder / "model.rkllm")
    home.settings += [f"engine.library={built(NEWEST)}", "engine.hang_s=600"]
    home.start(wait=False)
    home.hear("STATUS=starting")
    home.until(lambda: home.ask("model.list")["models"][0]["state"] == "loading", "the load")
    yield home
    home.close()


def test_1_models_answer_at_once_also_while_one_loads(loading):
    for path, name in (("/v1/models", "data"), ("/api/tags", "models")):
        found = loading.http.get(path)
        assert found.status == 200
        assert [one.get("id", one.get("name")) for one in found.json[name]] == ["parrot"]
    assert loading.http.get("/ready").status == 503
    assert loading.http.get("/health").status == 200


def test_1_ready_once_the_models_answer(http):
    assert http.get("/ready").status == 200


def test_2_a_set_up_probe_waits_while_the_model_loads(own_home):
    own_home.start(wait=False)
    own_home.hear("STATUS=starting")
    for stream in (False, True):
        answer = own_home.http.chat("ping", tools=[TOOL], max_tokens=3, stream=stream)
        assert answer.status == 200


def test_3_5_6_a_stream_from_a_real_model(http):
    events = http.chat(stream=True, stream_options={"include_usage": True}).events
    whole = http.chat()
    *chunks, usage, end = events
    deltas = [one["choices"][0]["delta"] for one in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert deltas[-1] == {}
    assert "".join(one["content"] for one in deltas[:-1]) == text_of(whole)
    assert usage["usage"]["completion_tokens"] == whole.json["usage"]["completion_tokens"] == 8
    assert end == "[DONE]"


@pytest.mark.parametrize("stream", [False, True])
def test_7_what_clients_send_besides(http, stream):
    answer = http.chat(
        stream=stream, n=1, stop=None, user="me", metadata={"a": 1}, parallel_tool_calls=True,
        chat_template_kwargs={"enable_thinking": False}, id_slot=-1, cache_prompt=True,
        logprobs=None, top_p=None, seed=None, tools=None, response_format=None, reasoning=None,
        stream_options=None, store=False, service_tier="auto",
    )  # fmt: skip
    assert answer.status == 200
    two = http.chat(n=2, stream=stream)
    assert two.status == 400
    assert "n is not supported" in two.json["error"]["message"]


def test_8_content_in_three_forms(http):
    forms = ["hello", [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]]
    answers = [
        http.post(
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": form}], "temperature": 0, "max_tokens": 6},
        )
        for form in forms
    ]
    assert text_of(answers[0]) == text_of(answers[1])
    nothing = [{"role": "user", "content": "a"}, {"role": "assistant", "content": None}]
    body = {"messages": nothing, "max_tokens": 2}
    assert http.post("/v1/chat/completions", body).status == 200


def test_9_odd_conversations(http):
    for messages in (
        [{"role": "user", "content": "x"}, {"role": "tool", "tool_call_id": "1", "content": "y"}],
        [{"role": "tool", "tool_call_id": "1", "content": "y"}],
        [{"role": "user", "content": "x"}, {"role": "assistant", "content": "a"},
         {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}],
        [{"role": "assistant", "content": "a"}],
        [{"role": "system", "content": "only this"}],
    ):  # fmt: skip
        body = {"messages": messages, "max_tokens": 2}
        assert http.post("/v1/chat/completions", body).status == 200, messages


def test_11_an_answer_is_held_to_a_form(http):
    on = {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]}
    on["additionalProperties"] = False
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": on, "strict": True}}
    answer = http.chat(response_format=wanted, max_tokens=40)
    assert json.loads(text_of(answer))["on"] in (True, False)
    assert text_of(http.chat(response_format={"type": "json_object"}, max_tokens=5))[0] == "{"
    named = {"type": "function", "function": {"name": "light_on"}}
    for choice in ("required", named):
        answer = http.chat(tools=[TOOL], tool_choice=choice, max_tokens=60)
        assert answer.json["choices"][0]["finish_reason"] == "tool_calls"
        (call,) = answer.json["choices"][0]["message"]["tool_calls"]
        assert (call["function"]["name"], call["function"]["arguments"]) == ("light_on", "{}")
    assert http.chat(response_format={"type": "text"}).status == 200
    assert http.chat(tools=[TOOL], tool_choice="none").status == 200


def test_11_a_form_that_cannot_be_kept_is_refused(http):
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"not": {}}}}
    for members, code in (
        ({"response_format": schema}, "unsupported"),
        ({"response_format": {"type": "json_object"}, "enable_thinking": True}, "unsupported"),
        ({"tool_choice": "required"}, "bad_request"),
    ):
        answer = http.chat(**members)
        assert (answer.status, answer.json["error"]["code"]) == (400, code)


def test_12_a_session_hint_reaches_the_session(home):
    home.http.chat(user="u1", metadata={"session_id": "kitchen-12"})
    assert "kitchen-12" in {one["session"] for one in home.ask("session.list")["sessions"]}


def test_13_busy_means_waiting_and_a_full_queue_is_told(own_home):
    own_home.settings += ["queue.length_max=1"]
    own_home.start()

    def queue():
        return own_home.ask("status")["queue"]["parrot"]

    with ThreadPoolExecutor(1, "asyncio_") as pool:
        with connected(own_home.port, chat_bytes(max_tokens=1900, stream=True)) as first:
            read_until(first, b"content")
            second = pool.submit(own_home.http.chat)
            own_home.until(lambda: queue()["waiting"] == 1, "the second in the queue")
            third = own_home.http.chat()
        assert second.result().status == 200
    assert third.status == 503
    assert third.json["error"]["code"] == "queue_full"
    assert int(third.headers["retry-after"]) >= 1
    assert third.headers["x-should-retry"] == "false"


def test_14_too_long_is_a_400_with_both_numbers(http):
    answer = http.chat(LONG * 5)
    assert answer.status == 400
    assert answer.json["error"]["code"] == "context_length_exceeded"
    assert "2048" in answer.json["error"]["message"]
    assert any(int(w) > 2048 for w in answer.json["error"]["message"].split() if w.isdigit())


def test_14_the_client_shortens_its_messages_itself_also_with_a_session_hint(http):
    turns = [{"role": role, "content": LONG} for role in ("user", "assistant") * 3]
    body = {"messages": [*turns, {"role": "user", "content": "x"}], "max_tokens": 2}
    for hint in ({}, {"user": "me"}, {"metadata": {"session_id": "me"}}):
        answer = http.post("/v1/chat/completions", body | hint)
        assert answer.status == 400
        assert answer.json["error"]["code"] == "context_length_exceeded"


def left(home):
    """How many chats ended because their client was gone."""
    gone = 0.0
    for line in home.http.get("/metrics").body.decode().splitlines():
        if line.startswith('rkllmd_requests_total{op="chat",outcome="cancelled"'):
            gone += float(line.rpartition(" ")[2])
    return gone


@pytest.mark.parametrize("stream", [False, True])
def test_15_a_client_that_goes_away_cancels(home, stream):
    before = left(home)
    members = {"stream": stream, "max_tokens": 1900, "use_cache": False}
    with connected(home.port, chat_bytes(LONG[:900], **members)) as sock:
        home.until(lambda: home.ask("status")["queue"]["parrot"]["running"])
        if stream:
            read_until(sock, b"content")
    home.until(lambda: left(home) == before + 1, "the cancel")
    home.until(lambda: not home.ask("status")["queue"]["parrot"]["running"])


def test_16_no_tokens_is_a_prefill_that_the_next_answer_finds(http):
    text = "A question that nobody has asked before, about the garden and the kettle."
    cold = http.chat(text, max_tokens=0).json
    warm = http.chat(text, max_tokens=4).json
    assert cold["choices"][0]["message"]["content"] == ""
    assert cold["usage"]["completion_tokens"] == 0
    cached = warm["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached >= cold["usage"]["prompt_tokens"] - 1


def test_17_the_same_tools_in_another_order_are_the_same_prefix(http):
    tools = [
        {"type": "function", "function": {"name": f"tool_{n}", "description": f"Number {n}."}}
        for n in range(4)
    ]
    http.chat("one", tools=tools, max_tokens=1)
    again = http.chat("two", tools=tools[::-1], max_tokens=1).json["usage"]
    assert again["prompt_tokens_details"]["cached_tokens"] > again["prompt_tokens"] * 0.8


def test_18_errors_have_one_shape(http):
    for answer, status in (
        (http.get("/v1/models/none"), 404), (http.get("/nothing"), 404),
        (http.chat(model="none"), 404), (http.chat(temperature=9), 400),
        (http.get("/v1/cache/parrot/none"), 404), (http.call("PATCH", "/v1/models"), 405),
        (http.get("/v1/cache/..%2f..%2fetc"), 404), (http.chat(model="../x"), 404),
        (http.post("/v1/cache/parrot", {"cache_name": "../x", "prompt": "y"}), 400),
        (http.call("DELETE", "/v1/cache/parrot/..%2fx"), 404),
        (http.post("/v1/models/load", {"model": "none"}), 404),
    ):  # fmt: skip
        assert answer.status == status, answer
        assert answer.json["error"].keys() == {"message", "type", "code", "param"}
        assert answer.headers["x-should-retry"] == "false"


def test_the_answer_is_that_of_the_socket(home):
    spoken = home.greedy("What is the time?", max_tokens=12)
    assert text_of(home.http.chat("What is the time?", max_tokens=12)) == spoken["text"]


def test_the_usage_says_what_the_cache_did(http):
    usage = http.chat("What is the time now?").json["usage"]
    assert usage["cache_hit"] is True
    assert usage["cached_prompts"] == ["system"]
    own = http.post(
        "/v1/chat/completions",
        {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}],
         "max_tokens": 1},
    ).json["usage"]  # fmt: skip
    assert own["cache_hit"] is False
    missing = http.chat(use_cache="none").json
    assert missing["usage"]["cache_hit"] is False
    assert "none" in missing["warnings"][0]


def test_head_is_get_without_a_body(http):
    answer = http.call("HEAD", "/v1/models")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


def test_curl_on_the_unix_socket(home):
    socket_path = home.folder / "run" / "http.sock"
    found = subprocess.run(
        ["curl", "-sS", "--unix-socket", socket_path, "http://x/v1/completions", "-d",
         '{"prompt": "The light", "max_tokens": 4, "temperature": 0}'],
        capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    assert json.loads(found)["usage"]["completion_tokens"] == 4
    lines = subprocess.run(
        ["curl", "-sSN", "--unix-socket", socket_path, "http://x/ask?stream=1", "-H",
         "Content-Type: text/plain", "-d", "What time is it?"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    assert lines.strip()


def test_sigterm_lets_an_http_answer_finish(own_home):
    own_home.settings.append("shutdown.drain_s=50")
    own_home.start()
    with connected(own_home.port, chat_bytes(max_tokens=300, stream=True)) as sock:
        read_until(sock, b"content")
        own_home.process.terminate()
        read_until(sock, b"[DONE]")
    assert own_home.process.wait(50) == 0
    own_home.process = None


def test_models_are_loaded_and_unloaded(http):
    assert http.post("/v1/models/unload", {"model": "parrot"}).json["state"] == "unloaded"
    assert http.get("/v1/models/loaded").json["data"] == []
    assert [one["name"] for one in http.get("/v1/models/available").json["data"]] == ["parrot"]
    assert http.post("/v1/models/load", {"model": "parrot"}).json["state"] == "ready"
    assert [one["name"] for one in http.get("/v1/models/loaded").json["data"]] == ["parrot"]


def test_to_load_what_is_loaded_disturbs_nobody(home):
    before = home.worker_pids()
    assert home.http.post("/v1/models/load", {"model": "parrot"}).json["state"] == "ready"
    assert home.worker_pids() == before
