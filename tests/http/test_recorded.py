"""What integrations send, and how they read the answers: what they drop and what they choke on."""

import json
from pathlib import Path

import pytest

from rkllmd.protocol.messages import Delta, ToolCalled
from tests.http.scripted import done, face

RECORDED = {
    one["name"]: (one["path"], one["body"])
    for client in json.loads(Path(__file__).with_name("recorded.json").read_text())["clients"]
    for one in client["requests"]
}
FEW = 9


@pytest.mark.parametrize("name", RECORDED)
def test_what_a_client_sends_is_answered(http, name):
    path, body = RECORDED[name]
    if body["model"] == "gpt-5-mini":  # By its name a client tells a model that reasons.
        body = {**body, "model": "parrot"}
    length = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
    if path == "/api/chat":  # The length is ours: a random model does not know when to end.
        body = {**body, "options": {**body["options"], "num_predict": FEW}}
    else:
        body = {**body, length: min(body.get(length, FEW), FEW)}
    answer = http.post(path, body)
    assert answer.status == 200, answer
    if path == "/api/chat":
        assert [one["done"] for one in answer.lines][-1] is True
    elif body.get("stream"):
        assert answer.events[-1] == "[DONE]"
    else:
        (choice,) = answer.json["choices"]
        assert isinstance(choice["text"] if "prompt" in body else choice["message"]["content"], str)


def home_assistant(stream):
    """Drops every delta before the role; takes a tool call when it is whole; stops at a reason."""
    text, calls, has_role = "", [], False
    for chunk in stream:
        if not chunk["choices"]:
            continue
        choice = chunk["choices"][0]
        delta = choice["delta"]
        has_role = has_role or "role" in delta
        if not has_role:
            continue
        text += delta.get("content") or ""
        for call in delta.get("tool_calls", ()):
            calls.append((call["id"], call["function"]["name"], call["function"]["arguments"]))
        if choice["finish_reason"]:
            break
    return text, calls


def local_openai(stream):
    """Joins pieces of a call by its id and name, and has them at the end; the role may not lack."""
    text, calls = "", {}
    for chunk in stream:
        if not chunk["choices"]:
            continue
        choice = chunk["choices"][0]
        text += choice["delta"].get("content") or ""
        for call in choice["delta"].get("tool_calls", ()):
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            calls.setdefault((call["id"], name), []).append(arguments)
        if choice["finish_reason"]:
            return text, [(*key, "".join(pieces)) for key, pieces in calls.items()]
    raise AssertionError("it waits for a finish reason")


def ovos(lines):
    """Every line is JSON, perhaps behind `data: `, and has choices; ends at a finish reason."""
    text = ""
    for line in lines:
        choice = json.loads(line.split("data: ", 1)[-1])["choices"][0]
        if choice["finish_reason"]:
            return text
        text += choice["delta"].get("content") or ""
    raise AssertionError("what follows the finish reason is no JSON")


def glados(lines):
    """Speaks when a piece is a mark and nothing else, unless a number stands before it."""
    spoken, pieces = [], []
    for line in lines:
        if line == "data: [DONE]":
            break
        chunk = json.loads(line.removeprefix("data: "))
        content = chunk["choices"][0]["delta"].get("content")
        if not content:
            continue
        pieces.append(content)
        number = len(pieces) > 1 and pieces[-2].strip().isdigit()
        if content.strip() in {".", "!", "?", ":", ";", "?!", "\n", "\n\n"} and not number:
            spoken.append("".join(pieces).strip())
            pieces = []
    return [*spoken, "".join(pieces).strip()] if pieces else spoken


async def play(request, call):
    for text in ("One", ".", " Two", "!"):
        await call.send(Delta(text))
    await call.send(ToolCalled("call_0", "HassTurnOn", {"name": "Lamp"}))
    return done("One. Two!", "tool_calls")


async def test_parsers_of_voice_programs_read_the_whole_answer():
    async with face(play) as served:
        answer = await served.chat(stream=True)
    lines = [line for line in answer.body.decode().split("\n") if line]
    text, calls = home_assistant(answer.events[:-1])
    assert text == "One. Two!"
    assert calls == [("call_0", "HassTurnOn", '{"name":"Lamp"}')]
    assert local_openai(answer.events[:-1]) == (text, calls)
    assert ovos(lines) == "One. Two!"
    assert glados(lines) == ["One.", "Two!"]


async def test_ollama_tool_calls_are_objects():
    async with face(play) as served:
        body = {"messages": [{"role": "user", "content": "x"}]}
        lines = (await served.post("/api/chat", body)).lines
        whole = (await served.post("/api/chat", {**body, "stream": False})).json
    call = {"function": {"name": "HassTurnOn", "arguments": {"name": "Lamp"}}}
    assert [one["message"]["tool_calls"] for one in lines if "tool_calls" in one["message"]] == [
        [call]
    ]
    assert whole["message"]["tool_calls"] == [call]
    assert whole["message"]["content"] == "One. Two!"
    assert lines[-1]["done_reason"] == "stop"
