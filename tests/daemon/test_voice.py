"""The voice's story of docs/voice.md, played in real time, and what a voice asks for besides.

The NPU's runtime is simulated at about a board's pace: 2 ms for a prefilled token, 30 ms for a
written one.
"""

import asyncio
import json
from contextlib import aclosing

import pytest

from rkllmd.client import AsyncClient, DaemonError
from tests.daemon.household import Household
from tests.fakes.rkllm.built import NEWEST, built, make_model

SENTENCES = [f"The lamp number {number} is on." for number in range(1, 101)]
SYLLABLE_SECONDS = 0.02
"""How fast this test speaks and listens; people take about ten times as long."""


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """A daemon whose model talks for long, at a board's pace."""
    folder = tmp_path_factory.mktemp("voice")
    answer = " ".join(SENTENCES)
    file = make_model(folder / "made.rkllm", answer=answer, token_us=30_000, prefill_us=2_000)
    home = Household(folder, file)
    (home.models / "parrot" / "model.gguf").rename(home.models / "parrot" / "model.rkllm")
    home.settings += [f"engine.library={built(NEWEST)}", "sampling.max_tokens=1500"]
    home.start()
    yield home
    home.close()


@pytest.fixture
async def voice(board):
    """A voice's connection."""
    async with AsyncClient(str(board.socket)) as client:
        yield client


async def say(text):
    """Speak, or be spoken to; words come one after the other."""
    words = text.split()
    for count in range(1, len(words) + 1):
        await asyncio.sleep(SYLLABLE_SECONDS * len(words[count - 1]) / 3)
        yield " ".join(words[:count])


async def hear_out(voice, text, session):
    """What the recogniser believes while somebody speaks is prefilled; all of it in the end."""
    prefills = []
    async for partial in say(text):
        prefills.append(asyncio.create_task(voice.prefill(partial, session)))
    return await asyncio.gather(*prefills)


async def answer(voice, text, session, spoken, sentences_heard):
    """Speak sentence by sentence; somebody interrupts after so many. The events that came."""
    heard, sentences = [], asyncio.Queue()

    async def listen():
        async with aclosing(voice.events(
            "chat", text=text, session=session, priority="voice", speech=True
        )) as events:  # fmt: skip
            async for event in events:
                heard.append(event)
                if event["event"] == "sentence":
                    sentences.put_nowait(event["text"])

    listening = asyncio.create_task(listen())
    for _ in range(sentences_heard):
        sentence = await sentences.get()
        async for _ in say(sentence):
            pass
        spoken.append(sentence)
    assert not listening.done(), "the answer goes on while it is spoken"
    cancelled = await voice.call("cancel", session=session)
    await listening
    return heard, cancelled


async def test_the_story(voice):
    session, spoken = "kitchen", []
    # Wake: the system prompt and the conversation so far are computed before a word is said.
    woken = await voice.call("prefill", session=session)
    assert woken["prompt_tokens"] > 0
    # Partials: a newer one takes the place of an older one.
    said = "which of the lamps are on in this home"
    prefills = await hear_out(voice, said, session)
    assert prefills[-1]["superseded"] is False
    assert prefills[-1]["cached_tokens"] >= woken["prompt_tokens"]
    # Final: only what stands behind the words is left to compute. Sentences are spoken meanwhile,
    # until somebody interrupts.
    heard, cancelled = await answer(voice, said, session, spoken, sentences_heard=2)
    assert cancelled["cancelled"] == 1
    done = heard[-1]
    assert done["reason"] == "cancelled"
    assert done["usage"]["cached_tokens"] >= prefills[-1]["prompt_tokens"]
    assert spoken == SENTENCES[:2]
    sentences = [event["text"] for event in heard if event["event"] == "sentence"]
    assert sentences[:-1] == SENTENCES[: len(sentences) - 1]
    assert [event["n"] for event in heard if event["event"] == "sentence"] == [
        *range(len(sentences))
    ]
    timing = done["timing"]
    order = ["queue_ms", "ttft_ms", "first_sentence_ms", "last_token_ms", "total_ms"]
    assert [timing[one] for one in order] == sorted(timing[one] for one in order)
    # Truncate: what was not heard was not said.
    assert await voice.truncate(session, " ".join(spoken)) == " ".join(spoken)
    # The next turn begins at once, and knows what was heard.
    said = "thank you that is enough"
    prefills = await hear_out(voice, said, session)
    assert prefills[-1]["cached_tokens"] > done["usage"]["cached_tokens"]
    second = await voice.call("chat", text=said, session=session, max_sentences=1)
    assert second["usage"]["cached_tokens"] >= prefills[-1]["prompt_tokens"]
    history = (await voice.call("session.show", session=session))["messages"]
    assert [one["content"] for one in history] == [
        "which of the lamps are on in this home", " ".join(spoken), said, SENTENCES[0],
    ]  # fmt: skip


async def test_a_voice_that_is_killed_leaves_what_it_had_said(board, voice):
    session = "hall"
    reader, writer = await asyncio.open_unix_connection(str(board.socket))
    writer.write(b'{"op":"chat","text":"lamps","session":"hall"}\n')
    spoken = None
    while spoken is None:
        event = json.loads(await reader.readline())
        spoken = event["text"] if event["event"] == "sentence" else None
    writer.transport.abort()

    def is_remembered():
        sessions = {one["session"]: one for one in board.ask("session.list")["sessions"]}
        return sessions[session]["turns"]

    await asyncio.to_thread(board.until, is_remembered, "the end of the answer")
    assert await voice.truncate(session, spoken) == spoken == SENTENCES[0]


@pytest.mark.parametrize("stream", ["both", "tokens", "sentences", False])
async def test_so_many_sentences_and_the_engine_stops(voice, stream):
    heard = []
    async with aclosing(voice.events("chat", text="lamps", max_sentences=2, stream=stream)) as all_:
        heard = [event async for event in all_]
    done = heard[-1]
    assert (done["text"], done["reason"]) == (" ".join(SENTENCES[:2]), "length")
    assert done["usage"]["completion_tokens"] < 100, "of some 1,000"
    deltas = "".join(event["text"] for event in heard if event["event"] == "delta")
    assert deltas == (done["text"] if stream in {"both", "tokens"} else "")
    sentences = [event["text"] for event in heard if event["event"] == "sentence"]
    assert sentences == (SENTENCES[:2] if stream in {"both", "sentences"} else [])
    timing = done["timing"]
    assert ("first_sentence_ms" in timing) == bool(sentences)
    assert timing["ttft_ms"] <= timing["last_token_ms"] <= timing["total_ms"]


async def test_a_limit_that_is_not_reached_changes_nothing(voice):
    short = {"text": "lamps", "max_tokens": 20}
    plain = await voice.call("chat", **short)
    limited = await voice.call("chat", **short, max_sentences=30)
    assert limited["text"] == plain["text"]
    assert (limited["reason"], plain["reason"]) == ("length", "length")
    assert limited["usage"]["completion_tokens"] == 20


async def test_complete_is_limited_too(voice):
    done = await voice.call("complete", prompt="Lamps:", max_sentences=1)
    assert (done["text"], done["reason"]) == (SENTENCES[0], "length")


@pytest.mark.parametrize("wrong", [0, -1, 1001, "one", True, 1.5])
async def test_a_wrong_limit_is_named(voice, wrong):
    with pytest.raises(DaemonError) as caught:
        await voice.call("chat", text="lamps", max_sentences=wrong)
    assert caught.value.code == "bad_request"
    assert "max_sentences: found" in str(caught.value)
