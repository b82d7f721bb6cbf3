"""The clients that people really use, against a running daemon: `openai` and `ollama`."""

import asyncio
from typing import Literal

import httpx
import ollama
import openai
import pydantic
import pytest

TOOLS = [{"type": "function", "function": {"name": "light", "parameters": {"type": "object"}}}]


class Lamp(pydantic.BaseModel):
    """Switches the lamp."""

    on: Literal["yes", "no"]


HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def client(home):
    with openai.OpenAI(base_url=f"http://127.0.0.1:{home.port}/v1", api_key="none") as found:
        yield found


@pytest.fixture
def llama(home):
    found = ollama.Client(f"http://127.0.0.1:{home.port}")
    yield found
    found._client.close()


def test_openai_models(client):
    assert [one.id for one in client.models.list()] == ["parrot"]
    assert client.models.retrieve("parrot").owned_by == "rkllmd"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-4o")
    assert caught.value.code == "model_not_found"


def test_openai_chat_plain_and_streamed_are_the_same(client):
    asked = {"model": "parrot", "messages": HELLO, "temperature": 0, "max_tokens": 8}
    whole = client.chat.completions.create(**asked, tools=TOOLS)
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 8
    stream = client.chat.completions.create(
        **asked, tools=TOOLS, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert text == whole.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].usage.completion_tokens == 8
    cached = client.chat.completions.create(**asked, extra_body={"use_cache": "system"}).usage
    assert cached.prompt_tokens_details.cached_tokens > 0
    assert cached.cache_hit is True


def test_openai_completions(client):
    asked = {"model": "parrot", "prompt": "The light", "temperature": 0, "max_tokens": 6}
    whole = client.completions.create(**asked)
    pieces = [one.choices[0].text for one in client.completions.create(**asked, stream=True)]
    assert "".join(pieces) == whole.choices[0].text
    assert whole.choices[0].finish_reason == "length"


def test_openai_embeddings(client):
    packed = client.embeddings.create(model="parrot", input=["a light", "a cat"])
    plain = client.embeddings.create(model="parrot", input="a light", encoding_format="float")
    assert len(packed.data) == 2
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-6)


def test_openai_errors_are_of_their_kind_and_not_repeated(client, home):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="parrot", messages=HELLO, n=2)
    assert caught.value.param == "n"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(
            model="parrot", messages=[{"role": "user", "content": "cat " * 9000}]
        )
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="none", messages=HELLO)


def test_openai_raw_answers_have_their_headers(client):
    asked = {"model": "parrot", "messages": HELLO, "max_tokens": 2}
    raw = client.chat.completions.with_raw_response.create(
        **asked, extra_headers={"X-Request-Id": "mine-1"}
    )
    assert raw.headers["x-request-id"] == raw.parse()._request_id == "mine-1"
    with client.chat.completions.with_streaming_response.create(**asked, stream=True) as raw:
        assert raw.headers["content-type"].startswith("text/event-stream")
        assert [line for line in raw.iter_lines() if line][-1] == "data: [DONE]"


def test_openai_helpers_put_a_stream_and_its_calls_together(client):
    asked = {"model": "parrot", "messages": HELLO, "temperature": 0, "max_tokens": 200}
    tool = openai.pydantic_function_tool(Lamp)
    with client.chat.completions.stream(**asked, tools=[tool], tool_choice="required") as stream:
        kinds = {event.type for event in stream}
        (call,) = stream.get_final_completion().choices[0].message.tool_calls
    assert "tool_calls.function.arguments.done" in kinds
    assert isinstance(call.function.parsed_arguments, Lamp)
    found = client.chat.completions.parse(**asked, response_format=Lamp)
    assert isinstance(found.choices[0].message.parsed, Lamp)


def test_openai_what_is_not_there_is_said_to_be_not_there(client):
    for call in (
        lambda: client.responses.create(model="parrot", input="x"),
        lambda: client.moderations.create(input="x"),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            call()
        assert caught.value.code == "unknown_endpoint"
    with pytest.raises(openai.APIStatusError) as caught:
        client.models.delete("parrot")
    assert caught.value.response.headers["allow"] == "GET"


def test_openai_closing_a_stream_cancels(client, home):
    stream = client.chat.completions.create(
        model="parrot", messages=HELLO, stream=True, max_tokens=1900
    )
    next(iter(stream))
    stream.close()
    home.until(lambda: not home.ask("status")["queue"]["parrot"]["running"])


def test_openai_over_the_unix_socket(home):
    transport = httpx.HTTPTransport(uds=str(home.folder / "run" / "http.sock"))
    with openai.OpenAI(
        base_url="http://rkllmd/v1", api_key="x", http_client=httpx.Client(transport=transport)
    ) as found:
        answer = found.chat.completions.create(model="parrot", messages=HELLO, max_tokens=2)
    assert answer.model == "parrot"


async def test_openai_asynchronous(home):
    async with openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{home.port}/v1", api_key="none"
    ) as found:
        asked = {"model": "parrot", "messages": HELLO, "max_tokens": 4}
        many = await asyncio.gather(*(found.chat.completions.create(**asked) for _ in range(3)))
        assert [one.choices[0].finish_reason for one in many] == ["length"] * 3
        assert [one.id async for one in found.models.list()] == ["parrot"]
        stream = await found.chat.completions.create(**asked | {"max_tokens": 1900}, stream=True)
        await stream.close()
    free = lambda: not home.ask("status")["queue"]["parrot"]["running"]  # noqa: E731
    await asyncio.to_thread(home.until, free)


def test_ollama_lists_and_shows(llama):
    assert [one.model for one in llama.list().models] == ["parrot"]
    assert [one.model for one in llama.ps().models] == ["parrot"]
    shown = llama.show("parrot")
    assert "completion" in shown.capabilities
    assert shown.details.format == "gguf"
    assert llama.pull("parrot").status == "success"
    assert [one.status for one in llama.pull("parrot", stream=True)] == ["success"]
    with pytest.raises(ollama.ResponseError) as caught:
        llama.pull("llama3")
    assert caught.value.status_code == 404
    assert "llama3" in caught.value.error


def test_ollama_chat_plain_and_streamed_are_the_same(llama):
    options = {"temperature": 0, "num_predict": 8, "num_ctx": 8192}
    asked = {"model": "parrot:latest", "messages": HELLO, "options": options, "keep_alive": "5m"}
    whole = llama.chat(**asked)
    pieces = list(llama.chat(**asked, stream=True, tools=[]))
    assert "".join(one.message.content for one in pieces) == whole.message.content
    assert [one.done for one in pieces] == [False] * (len(pieces) - 1) + [True]
    assert whole.done_reason == pieces[-1].done_reason == "length"
    assert whole.eval_count == 8
    assert whole.total_duration > whole.eval_duration > 0


def test_ollama_generate_load_and_embed(llama):
    options = {"temperature": 0, "num_predict": 4}
    raw = llama.generate("parrot", "The light", raw=True, options=options)
    told = llama.generate("parrot", "The light", system="Be short.", options=options)
    assert raw.response != told.response
    assert llama.generate("parrot").done_reason == "load"
    assert llama.chat("parrot", []).done_reason == "load"
    assert len(llama.embed("parrot", ["a", "b"]).embeddings) == 2


async def test_ollama_asynchronous(home):
    found = ollama.AsyncClient(f"http://127.0.0.1:{home.port}")
    few = {"num_predict": 3, "temperature": 0}
    whole = await found.chat("parrot", HELLO, options=few)
    pieces = [one async for one in await found.chat("parrot", HELLO, options=few, stream=True)]
    assert "".join(one.message.content for one in pieces) == whole.message.content
    told = [one async for one in await found.generate("parrot", "hi", options=few, stream=True)]
    assert told[-1].done_reason == "length"
    one, two = await found.embed("parrot", "a"), await found.embed("parrot", ["a"])
    assert one.embeddings == two.embeddings
    assert (await found.show("parrot")).modelinfo["rkllmd.context_length"] == 2048
    assert [one.model for one in (await found.ps()).models] == ["parrot"]
    assert [one.status async for one in await found.pull("parrot", stream=True)] == ["success"]
    await found._client.aclose()


def test_ollama_what_would_be_wrong_is_refused(llama):
    size = len(llama.embed("parrot", "a").embeddings[0])
    assert len(llama.embed("parrot", "a", dimensions=size).embeddings[0]) == size
    for call, why in (
        (lambda: llama.embed("parrot", "a", dimensions=size + 1), "dimensions"),
        (lambda: llama.chat("parrot", HELLO, logprobs=True), "logprobs"),
        (lambda: llama.generate("parrot", "x", images=[b"x"]), "images"),
        (lambda: llama.generate("parrot", "x", suffix="y"), "suffix"),
        (lambda: llama.embeddings("parrot", "a"), "/api/embeddings"),
        (lambda: llama.copy("parrot", "b"), "/api/copy"),
    ):
        with pytest.raises(ollama.ResponseError, match=why):
            call()


def test_ollama_unloads_when_nothing_is_to_be_kept_alive(llama):
    assert llama.generate("parrot", keep_alive=0).done_reason == "unload"
    assert llama.ps().models == []
    assert llama.chat("parrot", HELLO, options={"num_predict": 1}).eval_count == 1


def test_ollama_errors_have_its_shape(http):
    for path, body in (
        ("/api/chat", {"model": "none", "messages": HELLO}),
        ("/api/chat", {"model": "parrot", "messages": HELLO, "format": "yaml"}),
        ("/api/generate", {"model": "parrot", "prompt": "x", "images": ["aGk="]}),
        ("/api/nothing", {}),
        ("/api/chat", {"model": "parrot", "messages": HELLO, "format": {"type": "nothing"}}),
    ):
        answer = http.post(path, body)
        assert answer.status in {400, 404}
        assert list(answer.json) == ["error"]
        assert isinstance(answer.json["error"], str)
