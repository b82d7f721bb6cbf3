"""What OpenAI's clients see, chunk by chunk, when a model writes this and that."""

import asyncio
import json

from rkllmd.errors import Code, EngineError, RequestError, StateError
from rkllmd.protocol.messages import Chat, Delta, Prefill, Progress, Queued, Sentence, ToolCalled
from rkllmd.transport.http import streams
from tests.http.scripted import done, face

LIGHT = {"type": "function", "function": {"name": "light", "parameters": {"type": "object"}}}


def playing(*events, end=None):
    """A handler that tells these events and ends."""

    async def play(request, call):
        for event in events:
            await call.send(event)
        if isinstance(end, Exception):
            raise end
        return end or done("".join(one.text for one in events if isinstance(one, Delta)))

    return play


def deltas(events):
    return [one["choices"][0]["delta"] for one in events[:-1] if one["choices"]]


async def test_the_role_comes_first_and_alone():
    async with face(playing(Queued(1, 5), Progress("prefill", 1, 2), Delta("Hi"))) as served:
        answer = await served.chat(stream=True)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert deltas(answer.events) == [{"role": "assistant", "content": ""}, {"content": "Hi"}, {}]


async def test_every_chunk_is_one_and_has_choices_until_the_end():
    async with face(playing(Delta("a"), Delta("b"))) as served:
        events = (await served.chat(stream=True)).events
    assert events[-1] == "[DONE]"
    chunks = events[:-1]
    assert {one["object"] for one in chunks} == {"chat.completion.chunk"}
    assert len({(one["id"], one["created"], one["model"]) for one in chunks}) == 1
    assert chunks[0]["model"] == "parrot"
    assert all(one["choices"] for one in chunks)
    assert [one["choices"][0]["finish_reason"] for one in chunks] == [None, None, None, "stop"]


async def test_usage_follows_only_when_asked_for_and_timings_always():
    async with face(playing(Delta("a"))) as served:
        plain = (await served.chat(stream=True)).events
        asked = (await served.chat(stream=True, stream_options={"include_usage": True})).events
    assert "usage" not in plain[-2]
    assert plain[-2]["timings"]["cache_n"] == 10
    assert asked[-2]["choices"] == []
    assert asked[-2]["usage"]["prompt_tokens_details"] == {"cached_tokens": 10}
    assert asked[-3]["choices"][0] == {
        "index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"
    }  # fmt: skip


async def test_a_tool_call_is_whole_in_its_chunk_and_text_comes_before():
    events = [
        Delta("I do it."),
        ToolCalled("call_0", "light", {"room": "bath"}),
        ToolCalled("call_1", "light", {"room": "küche"}),
    ]
    async with face(playing(*events, end=done("I do it.", "tool_calls"))) as served:
        stream = (await served.chat(stream=True, tools=[LIGHT])).events
        whole = (await served.chat(tools=[LIGHT])).json["choices"][0]
    assert deltas(stream)[1] == {"content": "I do it."}
    calls = [one["tool_calls"] for one in deltas(stream) if "tool_calls" in one]
    assert [[one["index"] for one in chunk] for chunk in calls] == [[0], [1]]
    assert [json.loads(chunk[0]["function"]["arguments"]) for chunk in calls] == [
        {"room": "bath"}, {"room": "küche"},
    ]  # fmt: skip
    assert all(chunk[0]["id"] and chunk[0]["function"]["name"] == "light" for chunk in calls)
    assert stream[-2]["choices"][0]["finish_reason"] == whole["finish_reason"] == "tool_calls"
    assert [one["function"]["name"] for one in whole["message"]["tool_calls"]] == ["light"] * 2
    assert whole["message"]["content"] == "I do it."


async def test_thinking_never_reaches_the_content():
    events = [Delta("Hm.", channel="thinking"), Delta("Yes.")]
    async with face(playing(*events, end=done("Yes."))) as served:
        stream = (await served.chat(stream=True, enable_thinking=True)).events
        whole = (
            await served.chat(chat_template_kwargs={"enable_thinking": True})
        ).json["choices"][0]["message"]  # fmt: skip
        await served.chat()
    assert deltas(stream)[1:3] == [{"reasoning_content": "Hm."}, {"content": "Yes."}]
    assert whole["content"] == "Yes."
    assert whole["reasoning_content"] == "Hm."
    assert [one.thinking for one in served.handler.requests] == [True, True, False]


async def test_silence_is_filled_with_empty_chunks_and_nothing_else(monkeypatch):
    monkeypatch.setattr(streams, "KEEP_ALIVE_SECONDS", 0.02)
    filled = asyncio.Event()

    async def play(request, call):
        await filled.wait()
        await call.send(Delta("late"))
        return done("late")

    body = {"messages": [{"role": "user", "content": "x"}], "stream": True}
    async with face(play) as served:
        reader, writer = await served.connect()
        sent = json.dumps(body).encode()
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(sent), sent)
        )
        heard = b""
        while heard.count(b"data: ") < 3:
            heard += await reader.read(4096)
        filled.set()
        heard += await reader.read(-1)
        writer.close()
        await writer.wait_closed()
    found = [json.loads(line[6:]) for line in heard.splitlines() if line.startswith(b"data: {")]
    first, *fillers = [one["choices"][0]["delta"] for one in found]
    assert first == {"role": "assistant", "content": ""}
    assert {"content": "late"} in fillers
    assert fillers.count({}) >= 3
    assert b"\n:" not in heard


async def test_an_error_before_the_first_chunk_has_its_status():
    problem = RequestError(Code.CONTEXT_OVERFLOW, "600 tokens, and the context has 512")
    async with face(playing(end=problem)) as served:
        answer = await served.chat(stream=True)
    assert answer.status == 400
    assert answer.json == {
        "error": {
            "message": "600 tokens, and the context has 512",
            "type": "invalid_request_error",
            "code": "context_length_exceeded",
            "param": None,
        }
    }


async def test_an_error_in_the_middle_is_told_in_the_stream():
    problem = EngineError(Code.ENGINE_ERROR, "it broke")
    async with face(playing(Delta("a"), end=problem)) as served:
        answer = await served.chat(stream=True)
    assert answer.status == 200
    assert answer.events[-1]["error"]["code"] == "engine_error"


async def test_a_full_queue_says_when_to_come_again_and_not_to_repeat():
    async with face(playing(end=StateError(Code.QUEUE_FULL, "full", wait_ms=2500))) as served:
        answer = await served.chat()
    assert answer.status == 503
    assert answer.headers["retry-after"] == "3"
    assert answer.headers["x-should-retry"] == "false"


async def test_a_mistake_of_ours_is_a_500_with_the_shape_of_an_error():
    async with face(playing(end=ZeroDivisionError("oops"))) as served:
        answer = await served.chat()
        again = await served.get("/health")
    assert answer.status == 500
    assert answer.json["error"]["code"] == "internal"
    assert "oops" not in answer.body.decode()
    assert again.status == 200


async def test_what_a_body_means():
    body = {
        "model": "parrot", "max_tokens": 9, "temperature": 0.5, "top_p": 0.8, "seed": -1,
        "stop": ["x"], "user": "kitchen", "use_cache": "home", "n": 1, "language": "de",
        "frequency_penalty": 0.1, "priority": "voice", "tools": [LIGHT], "tool_choice": "none",
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "a"}]},
            {"role": "assistant", "content": None, "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "light", "arguments": "{}"}}
            ]},
            {"role": "tool", "tool_call_id": "c", "content": "on"},
        ],
    }  # fmt: skip
    async with face(playing()) as served:
        answer = await served.post("/v1/chat/completions", body)
    assert answer.status == 200
    (request,) = served.handler.requests
    assert isinstance(request, Chat)
    assert request.session == "kitchen"
    assert (request.max_tokens, request.temperature, request.top_p) == (9, 0.5, 0.8)
    assert (request.seed, request.stop, request.use_cache) == (None, ("x",), "home")
    assert (request.language, request.priority, request.tool_choice) == ("de", "voice", "none")
    assert request.messages[2].call_id == request.messages[1].tool_calls[0].id == "c"
    assert not request.thinking


async def test_what_a_response_format_means():
    word = {"enum": ["on", "off"]}
    async with face(playing()) as served:
        for wanted, members in (
            (None, {"response_format": {"type": "text"}}),
            ("json", {"response_format": {"type": "json_object"}}),
            ({}, {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}),
            (word, {"response_format": {"type": "json_schema", "json_schema": {"schema": word}}}),
            (word, {"response_format": {"type": "json_object", "schema": word}}),
            (word, {"format": word}),
        ):
            assert (await served.chat(**members)).status == 200
            assert served.handler.requests[-1].format == wanted, members


async def test_the_session_in_the_metadata_goes_before_the_user():
    async with face(playing()) as served:
        await served.chat(user="u", metadata={"session_id": "s"})
        await served.chat(user="u" * 300)
    assert [one.session for one in served.handler.requests] == ["s", None]


async def test_no_tokens_at_all_is_a_prefill():
    async def play(request, call):
        return {
            "model": "parrot", "prompt_tokens": 9, "cached_tokens": 4, "cache_hit": True,
            "cached_prompts": ["system"], "ms": 3.0, "superseded": False, "warnings": [],
        }  # fmt: skip

    async with face(play) as served:
        whole = (await served.chat(max_tokens=0)).json
        stream = (await served.chat(max_completion_tokens=0, stream=True)).events
    assert [type(one) for one in served.handler.requests] == [Prefill, Prefill]
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["usage"]["prompt_tokens_details"]["cached_tokens"] == 4
    assert deltas(stream) == [{"role": "assistant", "content": ""}, {}]


async def test_what_would_make_a_wrong_answer_is_refused():
    async with face(playing()) as served:
        for members in (
            {"n": 2}, {"logprobs": True}, {"logit_bias": {"1": 2}}, {"max_tokens": -1},
            {"messages": []}, {"response_format": {"type": "yaml"}}, {"stream": "yes"},
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
        ):  # fmt: skip
            answer = await served.chat(**members)
            assert answer.status == 400, members
            assert answer.json["error"]["param"], members
            assert not served.handler.requests


async def test_embeddings_in_base64_are_the_same_numbers():
    async def play(request, call):
        return {
            "model": "parrot", "embeddings": [[0.5, -1.0]], "dimensions": 2,
            "usage": {"prompt_tokens": 3},
        }  # fmt: skip

    async with face(play) as served:
        numbers = await served.post("/v1/embeddings", {"input": "a"})
        packed = await served.post("/v1/embeddings", {"input": "a", "encoding_format": "base64"})
        wrong = await served.post("/v1/embeddings", {"input": "a", "dimensions": 3})
    assert numbers.json["data"][0]["embedding"] == [0.5, -1.0]
    assert packed.json["data"][0]["embedding"] == "AAAAPwAAgL8="
    assert wrong.status == 400


async def test_ask_speaks_in_sentences():
    events = [Sentence(0, "One."), Sentence(1, "Two\nlines.")]
    async with face(playing(*events)) as served:
        plain = await served.post("/ask", b"what?")
        lines = await served.post("/ask?stream=1", {"text": "what?", "language": "de"})
        empty = await served.post("/ask", b"  ")
    assert plain.body == b"One. Two\nlines.\n"
    assert lines.body == b"One.\nTwo lines.\n"
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
    assert empty.status == 400
    assert [one.language for one in served.handler.requests] == [None, "de"]
    assert all(one.speech for one in served.handler.requests)
