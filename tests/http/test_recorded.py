"""What integrations send, and how they read the answers: what they drop and what they choke on."""

import json

import pytest

from rkllmd.protocol.messages import Delta, ToolCalled
from tests.http.recorded import OLLAMA_STYLE, OPENAI_STYLE
from tests.http.scripted import done, face


@pytest.mark.parametrize("who", OPENAI_STYLE)
def test_openai_style_bodies_are_answered(http, who):
    body = OPENAI_STYLE[who]
    answer = http.post("/v1/chat/completions", body)
    assert answer.status == 200, answer
    if body.get("stream"):
        assert answer.events[-1] == "[DONE]"
    else:
        assert isinstance(answer.json["choices"][0]["message"]["content"], str)


@pytest.mark.parametrize("who", OLLAMA_STYLE)
def test_ollama_style_bodies_are_answered(http, who):
    answer = http.post("/api/chat", OLLAMA_STYLE[who])
    assert answer.status == 200, answer
    assert [one["done"] for one in answer.lines][-1] is True


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


def ovos(lines):
    """Takes what stands behind `data: ` up to `[DONE]`; the first chunk is skipped, unread; every
    other one has choices."""
    text = ""
    for number, line in enumerate(lines):
        assert line.startswith("data: "), "a line that is none of these ends the skill"
        if line == "data: [DONE]":
            break
        chunk = json.loads(line.removeprefix("data: "))
        if number:
            text += chunk["choices"][0]["delta"].get("content", "")
    return text


def glados(lines):
    """Speaks at the first mark of a sentence; a line is JSON behind `data: `, or is dropped."""
    spoken, sentence = [], ""
    for line in lines:
        try:
            chunk = json.loads(line.removeprefix("data: "))
        except ValueError:
            continue
        content = chunk["choices"][0]["delta"].get("content")
        if content is None:
            continue
        sentence += content
        if sentence.endswith((".", "!", "?")):
            spoken.append(sentence.strip())
            sentence = ""
    return [*spoken, sentence.strip()] if sentence.strip() else spoken


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
