"""The `wyoming` package's client and its own events, against a running daemon over Unix and TCP."""

import asyncio
import contextlib

import pytest
from wyoming.asr import Transcript, TranscriptChunk, TranscriptStart
from wyoming.client import AsyncClient
from wyoming.handle import Handled, HandledChunk, HandledStart, NotHandled
from wyoming.info import Describe, Info, SelectProgram
from wyoming.user_event import UserEvent

from tests.wyoming.conftest import ask, hear, hear_until


async def handled(client, text, context=None, language=None):
    """A transcript's answer, heard to its end."""
    await client.write_event(Transcript(text, context, language).event())
    heard = await hear_until(client, "handled-stop")
    assert HandledStart.is_type(heard[0].type)
    answer = Handled.from_event(heard[-2])
    assert answer.context == HandledStart.from_event(heard[0]).context
    chunks = [HandledChunk.from_event(one).text for one in heard[1:-2]]
    assert answer.text == "".join(chunks).strip()
    assert answer.text
    return answer


async def do(client, name, data=None, context=None):
    """What a user event's reply says."""
    await client.write_event(UserEvent(name, data, context).event())
    return UserEvent.from_event(await hear(client, "user-event")).data


async def test_describe(uri):
    async with AsyncClient.from_uri(uri) as client:
        await client.write_event(Describe().event())
        info = Info.from_event(await hear(client, "info"))
    program = info.handle[0]
    assert program.name == program.models[0].name == "parrot"
    assert program.models[0].languages == ["en"]


async def test_transcripts_with_a_context_are_a_conversation(home, uri):
    context = {"conversation_id": f"talk {uri}", "device_id": "d", "area": "kitchen"}
    async with AsyncClient.from_uri(uri) as client:
        first = await handled(client, "hello", context, "en")
    assert first.context == context
    async with AsyncClient.from_uri(uri) as client:
        await handled(client, "and again", first.context)
    (session,) = [one for one in (await ask(home, "session.list"))["sessions"]
                  if one["session"] == context["conversation_id"]]  # fmt: skip
    assert session["turns"] == 2
    shown = (await ask(home, "session.show", session=session["session"]))["messages"]
    assert [one["role"] for one in shown] == ["user", "assistant"] * 2
    assert [one["content"] for one in shown[::2]] == ["hello", "and again"]


async def test_the_answer_is_that_of_the_socket(home, uri):
    async with AsyncClient.from_uri(uri) as client:
        answer = await handled(client, "which rooms are there")

    def listen():
        with home.client() as lines:
            events = list(lines.events("chat", text="which rooms are there", speech=True))
        return "".join(event["text"] for event in events if event["event"] == "delta")

    assert answer.text == (await asyncio.to_thread(listen)).strip()


async def test_what_is_heard_is_prefilled_before_it_is_said(home, uri):
    context = {"satellite_id": f"ears {uri}"}
    words = "tell me which rooms there are in this home and who lives in them"
    async with AsyncClient.from_uri(uri) as client:
        await client.write_event(TranscriptStart(context).event())
        await client.write_event(TranscriptChunk(words).event())
        # The same once more, since its reply tells when it is computed.
        found = await do(client, "rkllmd.prefill", {"text": words}, context)
        await handled(client, words, context)
    last = (await ask(home, "status"))["last"]
    assert last["cached_tokens"] >= found["prompt_tokens"] - 1
    assert last["prompt_tokens"] - last["cached_tokens"] < len(words.split())


async def test_leaving_is_barging_in(home, uri):
    context = {"conversation_id": f"barge {uri}"}
    async with AsyncClient.from_uri(uri) as client:
        await client.write_event(SelectProgram("talker").event())
        await client.write_event(Transcript("tell me everything", context).event())
        await hear(client, "handled-start")
        chunks = [HandledChunk.from_event(await hear(client, "handled-chunk")).text]
        while not "".join(chunks).strip():
            chunks.append(HandledChunk.from_event(await hear(client, "handled-chunk")).text)

    def is_remembered():
        sessions = {one["session"]: one for one in home.ask("session.list")["sessions"]}
        return sessions[context["conversation_id"]]["turns"]

    await asyncio.to_thread(home.until, is_remembered, "the end of the answer")
    spoken = "".join(chunks).strip()
    async with AsyncClient.from_uri(uri) as client:
        kept = await do(client, "rkllmd.truncate", {"spoken": spoken}, context)
        await handled(client, "stop that", context)
    messages = (await ask(home, "session.show", session=context["conversation_id"]))["messages"]
    assert messages[1]["content"] == kept["kept"]
    assert messages[2]["content"] == "stop that"


async def test_cancelling_from_another_connection(home, uri):
    context = {"conversation_id": f"cancel {uri}"}
    async with AsyncClient.from_uri(uri) as client:
        await client.write_event(SelectProgram("talker").event())
        await client.write_event(Transcript("tell me everything", context).event())
        await hear_until(client, "handled-chunk")
        async with AsyncClient.from_uri(uri) as other:
            assert await do(other, "rkllmd.cancel", None, context) == {"cancelled": 1}
        assert await hear_until(client, "handled-stop")


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (UserEvent("rkllmd.truncate", {"chars": 3}, {"conversation_id": "nobody"}),
         "unknown_session"),
        (UserEvent("rkllmd.truncate", {}, {"conversation_id": "nobody"}), "bad_request"),
        (UserEvent("rkllmd.prefill", {"text": "cat " * 9000}), "context_overflow"),
        (Transcript("cat " * 9000), "context_overflow"),
        (Transcript(""), "bad_request"),
    ],
)  # fmt: skip
async def test_what_cannot_be_done_is_told(home, uri, event, code):
    async with AsyncClient.from_uri(uri) as client:
        await client.write_event(event.event())
        told = await hear(client, "not-handled")
        assert told.data["code"] == code
        assert NotHandled.from_event(told).text
        await handled(client, "hello")


async def test_a_program_that_is_not_there_is_told_when_it_is_asked(home, uri):
    async with AsyncClient.from_uri(uri) as client:
        await client.write_event(SelectProgram("gpt-9").event())
        await client.write_event(Transcript("hallo", language="de").event())
        told = await hear(client, "not-handled")
    assert told.data["code"] == "unknown_model"
    assert "parrot" in told.data["message"]


async def test_garbage_is_told_and_others_are_served(uri):
    async with AsyncClient.from_uri(uri) as other:
        client = AsyncClient.from_uri(uri)
        await client.connect()
        with contextlib.suppress(ConnectionError):
            client._writer.write(b"\x16\x03\x01\x02\x00\x01\n")
            assert (await hear(client, "not-handled")).data["code"] == "bad_json"
            assert await client.read_event() is None
        await client.disconnect()
        await handled(other, "hello")


async def test_the_language_goes_to_the_prompt_and_not_to_the_memory(home, uri):
    context = {"conversation_id": f"tongue {uri}"}
    async with AsyncClient.from_uri(uri) as client:
        await handled(client, "wie heißt du", context, "en-GB")
        plain = (await ask(home, "status"))["last"]["prompt_tokens"]
        await ask(home, "session.reset", session=context["conversation_id"])
        await handled(client, "wie heißt du", context, "de-AT")
        asked = (await ask(home, "status"))["last"]["prompt_tokens"]
        await handled(client, "und ich", context, "de-AT")
    wish = (await ask(home, "tokenize", text=" (Answer in German.)"))["count"]
    assert abs(asked - plain - wish) <= 1
    shown = (await ask(home, "session.show", session=context["conversation_id"]))["messages"]
    assert [one["content"] for one in shown[::2]] == ["wie heißt du", "und ich"]
