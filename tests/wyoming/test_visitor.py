"""One connection: what is understood, and every way it ends. The handler is scripted."""

import asyncio
import contextlib

import pytest
from wyoming.asr import Transcript, TranscriptChunk, TranscriptStart, TranscriptStop
from wyoming.audio import AudioChunk
from wyoming.event import Event
from wyoming.handle import Handled, HandledStart, NotHandled
from wyoming.info import Describe, Info, SelectProgram
from wyoming.intent import NotRecognized, Recognize
from wyoming.ping import Ping, Pong
from wyoming.user_event import UserEvent

from rkllmd.errors import Code
from rkllmd.protocol.messages import Chat, Prefill, SessionTruncate
from rkllmd.transport.listen import ListenError, open_tcp
from rkllmd.transport.wyoming.access import check_bind, is_let_in, networks_of
from rkllmd.transport.wyoming.apologies import apology
from tests.wyoming.conftest import hear, hear_until

ANSWER = ["handled-start", "handled-chunk", "handled-chunk", "handled", "handled-stop"]


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_a_transcript_is_answered_as_it_comes(house, kind):
    context = {"conversation_id": "c", "satellite_id": "s", "x": [1]}
    async with house.client(kind) as client:
        await client.write_event(Transcript("hello there", context, "de").event())
        heard = await hear_until(client, "handled-stop")
    assert [event.type for event in heard] == ANSWER
    assert HandledStart.from_event(heard[0]).context == context
    assert Handled.from_event(heard[3]) == Handled("hello there", context)
    (chat,) = house.handler.of(Chat)
    assert (chat.text, chat.session, chat.language) == ("hello there", "c", "de")
    assert (chat.speech, chat.priority) == (True, "voice")


@pytest.mark.parametrize(
    ("context", "session"),
    [
        ({"conversation_id": "c", "satellite_id": "s", "device_id": "d"}, "c"),
        ({"conversation_id": None, "satellite_id": "s", "device_id": "d"}, "s"),
        ({"conversation_id": "", "device_id": "d"}, "d"),
    ],
)
async def test_the_key_of_the_conversation(house, context, session):
    async with house.client() as client:
        await client.write_event(Transcript("hello", context).event())
        handled = (await hear_until(client, "handled-stop"))[-2]
    assert handled.data["context"]["conversation_id"] == session
    assert house.handler.of(Chat)[0].session == session


async def test_a_connection_without_context_is_a_conversation_of_its_own(house):
    sessions = []
    for _ in range(2):
        async with house.client() as client:
            for _ in range(2):
                await client.write_event(Transcript("hello").event())
                handled = (await hear_until(client, "handled-stop"))[-2]
                sessions.append(handled.data["context"]["conversation_id"])
    assert sessions[0] == sessions[1] != sessions[2] == sessions[3]
    assert [one.session for one in house.handler.of(Chat)] == sessions


async def test_describe_has_the_models_that_are_there_and_the_default_one_first(house):
    async with house.client() as client:
        await client.write_event(Describe().event())
        info = Info.from_event(await hear(client, "info"))
    assert [program.name for program in info.handle] == ["small", "big"]
    program = info.handle[0]
    assert (program.installed, program.models[0].installed) == (True, True)
    assert program.models[0].languages == ["en", "nl"]
    assert program.supports_handled_streaming is True
    assert program.supports_home_control is False
    assert [info.asr, info.tts, info.intent, info.wake, info.mic, info.snd] == [[]] * 6


async def test_describe_and_ping_are_answered_while_an_answer_goes_on(house):
    async with house.client() as client:
        await client.write_event(Transcript("half").event())
        await hear(client, "handled-start")
        await hear(client, "handled-chunk")
        await client.write_event(Describe().event())
        await hear(client, "info")
        await client.write_event(Ping("still there?").event())
        assert Pong.from_event(await hear(client, "pong")).text == "still there?"
        await client.write_event(UserEvent("rkllmd.cancel").event())
        heard = {event.type: event for event in [await hear(client) for _ in range(3)]}
    assert heard["handled"].data["text"] == "Once"
    assert heard["user-event"].data["data"] == {"cancelled": 1}


async def test_a_program_is_selected_for_the_connection(house):
    async with house.client() as client:
        await client.write_event(SelectProgram("big").event())
        for _ in range(2):
            await client.write_event(Transcript("hello").event())
            await hear_until(client, "handled-stop")
    assert [one.model for one in house.handler.of(Chat)] == ["big", "big"]


async def test_what_is_being_said_is_prefilled(house):
    context = {"satellite_id": "kitchen"}
    async with house.client() as client:
        await client.write_event(SelectProgram("big").event())
        await client.write_event(TranscriptStart(context, "en").event())
        for text in ("turn ", "on ", "the light"):
            await client.write_event(TranscriptChunk(text).event())
        await client.write_event(Transcript("turn on the light", context, "en").event())
        await client.write_event(TranscriptStop().event())
        await hear_until(client, "handled-stop")
        await client.write_event(TranscriptChunk("and").event())
        await client.write_event(Ping().event())
        await hear(client, "pong")
    prefills = house.handler.of(Prefill)
    assert [one.text for one in prefills[:4]] == [None, "turn ", "turn on ", "turn on the light"]
    assert {(one.session, one.model) for one in prefills[:4]} == {("kitchen", "big")}
    assert prefills[4].text == "and", "a transcript ends what was said before"


async def test_a_prefill_that_fails_is_not_told(house, caplog):
    async with house.client() as client:
        await client.write_event(TranscriptChunk("boom").event())
        await client.write_event(Transcript("hello").event())
        assert (await hear_until(client, "handled-stop"))[0].type == "handled-start"
    assert "ZeroDivisionError" in caplog.text


async def test_recognize_is_for_others(house):
    async with house.client() as client:
        await client.write_event(Recognize("hello", {"a": 1}).event())
        event = await hear(client, "not-recognized")
        assert NotRecognized.from_event(event).context == {"a": 1}


async def test_events_of_others_are_passed_over(house):
    async with house.client() as client:
        await client.write_event(AudioChunk(16000, 2, 1, b"\0" * 4096).event())
        await client.write_event(TranscriptStop().event())
        await client.write_event(UserEvent("somebody.else", {"a": 1}).event())
        await client.write_event(Event("timer-started", {"id": "x"}))
        await client.write_event(Ping("x").event())
        await hear(client, "pong")
    assert house.handler.requests == []


async def test_user_events_do_what_operations_do(house):
    context = {"conversation_id": "c"}
    async with house.client() as client:
        await client.write_event(UserEvent("rkllmd.prefill", {"text": "turn"}, context).event())
        told = UserEvent.from_event(await hear(client, "user-event"))
        assert (told.name, told.data["cached_tokens"]) == ("rkllmd.prefilled", 5)
        await client.write_event(UserEvent("rkllmd.truncate", {"spoken": "It"}, context).event())
        told = UserEvent.from_event(await hear(client, "user-event"))
        assert (told.name, told.data, told.context) == (
            "rkllmd.truncated", {"kept": "It"}, context,
        )  # fmt: skip
    assert house.handler.of(Prefill)[0].session == "c"
    assert house.handler.of(SessionTruncate)[0].session == "c"


async def test_transcripts_of_a_connection_are_answered_in_order(house):
    async with house.client() as client:
        for text in ("one", "two", "three"):
            await client.write_event(Transcript(text).event())
        heard = [(await hear_until(client, "handled-stop"))[-2].data["text"] for _ in range(3)]
    assert heard == ["one", "two", "three"]


@pytest.mark.parametrize("code", list(Code))
@pytest.mark.parametrize("language", [None, "de-AT"])
async def test_a_failure_is_a_sentence_that_can_be_spoken(house, code, language):
    async with house.client() as client:
        await client.write_event(Transcript(code, {"conversation_id": "c"}, language).event())
        event = await hear(client, "not-handled")
        told = NotHandled.from_event(event)
        assert told.text == apology(code, language)
        assert told.text.endswith(".")
        assert told.context == {"conversation_id": "c"}
        assert (event.data["code"], event.data["message"]) == (code, "asked for")
        await client.write_event(Transcript("hello").event())
        await hear_until(client, "handled-stop")


def test_apologies_are_spoken_in_the_language_that_was_spoken():
    spoken = {apology(Code.QUEUE_FULL, tag) for tag in ("de", "de-AT", "de_CH", "DE")}
    assert len(spoken) == 1
    assert apology(Code.QUEUE_FULL, "xx") == apology(Code.QUEUE_FULL, None)
    assert apology(Code.QUEUE_FULL, "fr") not in spoken
    kinds = {apology(code, "en") for code in Code}
    assert len(kinds) == 3


async def test_an_answer_that_breaks_off_ends_the_stream(house):
    async with house.client() as client:
        await client.write_event(Transcript("torn").event())
        heard = await hear_until(client, "handled-stop")
    assert [one.type for one in heard] == [
        "handled-start", "handled-chunk", "not-handled", "handled-stop"
    ]  # fmt: skip


@pytest.mark.parametrize("trouble", ["boom", "cancelled"])
async def test_a_bug_is_internal_and_reaches_the_hook(house, trouble, caplog):
    async with house.client() as client:
        await client.write_event(Transcript(trouble).event())
        assert (await hear(client, "not-handled")).data["code"] == "internal"
        await client.write_event(Transcript("hello").event())
        await hear_until(client, "handled-stop")
    assert len(house.handler.bugs) == 1
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Event("transcript", {}), "transcript: text: found nothing"),
        (Event("transcript", {"text": 3}), "text: found 3, allowed: a text"),
        (Event("transcript", {"text": " \n"}), "text: found no words"),
        (Event("transcript", {"text": "a", "context": []}), "context: found a list of 0"),
        (
            Event("transcript", {"text": "a", "context": {"device_id": 3}}),
            "context: device_id: found 3",
        ),
        (Event("transcript", {"text": "a", "language": "x" * 99}), "language: found"),
        (Event("transcript-chunk", {}), "text: found nothing"),
        (Event("transcript-start", {"language": 1}), "language: found 1"),
        (Event("select-program", {}), "name: found nothing"),
        (Event("ping", {"text": 1}), "text: found 1"),
        (Event("user-event", {}), "name: found nothing"),
        (
            Event("user-event", {"name": "rkllmd.truncate", "data": {"chars": -1}}),
            "chars: found -1",
        ),
        (Event("user-event", {"name": "rkllmd.prefill", "data": {"text": 1}}), "text: found 1"),
    ],
)
async def test_a_wrong_event_is_told_and_the_connection_goes_on(house, event, words):
    async with house.client() as client:
        await client.write_event(event)
        told = (await hear(client, "not-handled")).data
        assert told["code"] == "bad_request"
        assert words in told["message"]
        await client.write_event(Transcript("hello").event())
        await hear_until(client, "handled-stop")


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_bytes_that_are_no_event_are_told_and_end_the_connection(house, kind):
    async with house.client(kind) as client:
        client._writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await hear(client, "not-handled")).data["code"] == "bad_json"
        assert await client.read_event() is None
    await house.empty()


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_a_client_that_leaves_cancels(house, kind):
    async with house.client(kind) as client:
        await client.write_event(Transcript("half").event())
        await hear_until(client, "handled-chunk")
    await house.handler.cancelled.wait()
    await house.empty()


@pytest.mark.parametrize("kind", ["unix", "tcp"])
async def test_a_client_that_is_torn_away_cancels_in_silence_too(house, kind):
    client = house.client(kind)
    await client.connect()
    await client.write_event(Transcript("silent").event())
    await house.handler.arrived.wait()
    client._writer.transport.abort()
    await house.handler.cancelled.wait()
    await house.empty()


async def test_the_end_of_input_cancels_over_tcp(house):
    async with house.client("tcp") as client:
        await client.write_event(Transcript("half").event())
        await hear_until(client, "handled-chunk")
        client._writer.write_eof()
        assert (await hear(client, "handled")).data["text"] == "Once"
        await hear(client, "handled-stop")
        assert await client.read_event() is None


async def test_the_end_of_input_is_no_more_than_that_on_a_unix_socket(house):
    async with house.client("unix") as client:
        await client.write_event(Transcript("one two").event())
        client._writer.write_eof()
        assert [one.type for one in await hear_until(client, "handled-stop")] == ANSWER
        assert await client.read_event() is None
    assert not house.handler.calls[0].stop.is_set()


async def test_leaving_at_handled_disturbs_nobody(house, caplog):
    for _ in range(5):
        async with house.client("tcp") as client:
            await client.write_event(Transcript("hello").event())
            await hear_until(client, "handled")
    await house.empty()
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


async def test_too_much_at_once_is_refused_and_the_rest_is_answered(house):
    async with house.client() as client:
        await client.write_event(Transcript("half").event())
        await hear_until(client, "handled-chunk")
        for _ in range(40):
            await client.write_event(Transcript("hello").event())
        refused = [await hear(client, "not-handled") for _ in range(9)]
        assert {one.data["code"] for one in refused} == {"queue_full"}
        for _ in range(50):
            await client.write_event(TranscriptChunk("a word ").event())
        await client.write_event(Ping().event())
        await hear(client, "pong")
        assert house.handler.of(Prefill) == []


async def test_too_many_connections_are_told(house_in):
    async with house_in(connections_max=1) as house, house.client() as first:
        await first.write_event(Ping("x").event())
        await hear(first, "pong")
        async with house.client() as second:
            assert (await hear(second, "not-handled")).data["code"] == "queue_full"
            assert await second.read_event() is None
        await first.write_event(Ping("x").event())
        await hear(first, "pong")


async def test_a_client_that_does_not_read_loses_its_connection(house_in):
    async with house_in(stall_s=0.2) as house:
        client = house.client()
        await client.connect()
        client._writer.transport.pause_reading()
        await client.write_event(Transcript("endless").event())
        await house.handler.arrived.wait()
        await house.empty()
        assert house.handler.calls[0].stop.is_set()
        await client.disconnect()


async def test_an_operation_that_ignores_the_end_is_ended_by_force(house_in):
    async with house_in(grace_s=0.05) as house:
        async with house.client() as client:
            await client.write_event(Transcript("stubborn").event())
            await house.handler.arrived.wait()
        await house.empty()


async def test_a_service_that_leaves_lets_answers_end_then_says_so(house):
    async with house.client() as client:
        await client.write_event(Transcript("half").event())
        await hear_until(client, "handled-chunk")
        leaving = asyncio.create_task(house.server.close(drain_s=60))
        while not house.server.is_draining:
            await asyncio.sleep(0)
        await client.write_event(Transcript("late").event())
        assert (await hear(client, "not-handled")).data["code"] == "shutting_down"
        await house.server.close()
        assert (await hear(client, "not-handled")).data["code"] == "shutting_down"
        await hear(client, "handled-stop")
        assert await client.read_event() is None
        await leaving


# Who may come.


@pytest.mark.parametrize(
    ("address", "let_in"),
    [
        ("127.0.0.1", True), ("::1", True), ("192.168.7.9", True), ("::ffff:192.168.7.9", True),
        ("192.168.8.9", False), ("10.0.0.1", False), ("fe80::1%eth0", False),
    ],
)  # fmt: skip
def test_this_machine_and_the_networks_may_come(address, let_in):
    assert is_let_in((address, 4000), networks_of(["192.168.7.0/24"])) is let_in


def test_an_address_that_strangers_reach_needs_networks():
    with contextlib.closing(open_tcp("0.0.0.0", 0)) as listener:
        with pytest.raises(ListenError, match=r"wyoming\.networks"):
            check_bind(listener.socket, ())
        check_bind(listener.socket, networks_of(["10.0.0.0/8"]))
    with contextlib.closing(open_tcp("127.0.0.1", 0)) as listener:
        check_bind(listener.socket, ())


def test_a_wrong_network_is_named():
    with pytest.raises(ListenError, match=r"wyoming\.networks: .*allowed: networks as"):
        networks_of(["kitchen"])


async def test_a_stranger_is_closed_at_once(house, monkeypatch):
    monkeypatch.setattr("rkllmd.transport.wyoming.visitor.is_let_in", lambda *_: False)
    client = house.client("tcp")
    await client.connect()
    with contextlib.suppress(ConnectionError):
        assert await client.read_event() is None
    await client.disconnect()
    await house.empty()
    assert house.handler.requests == []
