"""Both clients on a running daemon: many requests, cancelling, restarts, errors by kind."""

import asyncio
import threading
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.client import AsyncClient, BadRequest, Client, ConnectionLost, NotHere
from rkllmd.client.backoff import pauses
from rkllmd.client.events import Ok, typed
from rkllmd.client.problems import KINDS, DaemonError, daemon_error
from rkllmd.errors import FACTS
from rkllmd.protocol.messages import Delta, Done


def path(home):
    return str(home.socket)


async def free(client):
    """Wait until nothing runs."""
    while (await client.call("status"))["queue"]["parrot"] != {"running": False, "waiting": 0}:
        await asyncio.sleep(0.02)


async def test_many_requests_on_one_connection(running):
    async with AsyncClient(path(running)) as client:
        ask = {"temperature": 0, "max_tokens": 5}
        together = await asyncio.gather(
            *(client.call("chat", text=f"say {n}", **ask) for n in range(8))
        )
        alone = [await client.call("chat", text=f"say {n}", **ask) for n in range(8)]
    assert [one["text"] for one in together] == [one["text"] for one in alone]


async def test_leaving_an_answer_cancels_it(running):
    async with AsyncClient(path(running)) as client:
        async with aclosing(client.events("chat", text="go", max_tokens=1500)) as events:
            async for event in events:
                if event["event"] == "delta":
                    break
        await free(client)


async def test_a_cancelled_task_cancels_its_answer(running):
    async with AsyncClient(path(running)) as client:
        task = asyncio.create_task(client.call("chat", text="go", max_tokens=1500))
        while not (await client.call("status"))["queue"]["parrot"]["running"]:
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await free(client)


async def test_sentences_prefill_and_truncate(assistant):
    async with AsyncClient(path(assistant)) as client:
        await client.prefill("Hello", "voice")
        said = [one async for one in client.sentences("Hello", session="voice", temperature=0)]
        assert said
        assert await client.truncate("voice", said[0]) == said[0]


def test_sentences_prefill_and_truncate_for_those_who_wait(assistant):
    with assistant.client() as client:
        client.prefill("Hello", "other")
        said = list(client.sentences("Hello", session="other", temperature=0))
        assert said
        assert client.truncate("other", said[0]) == said[0]
        next(client.sentences("Hello", session="other"))
        assert client.call("ping")["event"] == "ok", "the answer that was left is in the way"


async def test_errors_have_kinds(running):
    async with AsyncClient(path(running)) as client:
        with pytest.raises(NotHere):
            await client.call("chat", text="hi", model="nothere")
        with pytest.raises(BadRequest):
            await client.call("chat")
        assert (await client.call("ping"))["event"] == "ok"


async def test_a_restart_is_a_pause(household):
    await asyncio.to_thread(household.start)
    async with AsyncClient(path(household), patience_s=40) as client:
        await client.call("ping")
        answer = asyncio.create_task(client.call("chat", text="go", max_tokens=1500))
        while not (await client.call("status"))["queue"]["parrot"]["running"]:
            await asyncio.sleep(0.02)
        await asyncio.to_thread(household.stop, 9)
        with pytest.raises(ConnectionLost):
            await answer
        later = asyncio.create_task(client.call("ping"))
        await asyncio.to_thread(household.start)
        assert (await later)["event"] == "ok"


def test_the_blocking_client_waits_for_a_restart(household):
    client = Client(path(household), timeout_s=40, patience_s=40)
    starting = threading.Thread(target=household.start)
    starting.start()
    with client:
        assert client.call("ping")["event"] == "ok"
    starting.join()


async def test_without_a_daemon(tmp_path):
    async with AsyncClient(str(tmp_path / "none"), patience_s=0.1) as client:
        with pytest.raises(ConnectionLost, match="cannot reach"):
            await client.call("ping")


async def test_a_socket_that_is_no_daemon(tmp_path):
    async def rude(reader, writer):
        await reader.readline()
        writer.write(b"HTTP/1.1 400 no\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(rude, tmp_path / "socket")
    async with server, AsyncClient(str(tmp_path / "socket")) as client:
        with pytest.raises(ConnectionLost, match="no rkllmd"):
            await client.call("ping")


def test_events_become_dataclasses(running):
    with running.client() as client:
        events = [typed(one) for one in client.events("chat", text="hi", max_tokens=3)]
        assert isinstance(events[-1], Done)
        text = "".join(one.text for one in events if isinstance(one, Delta))
        assert text == events[-1].text
        assert isinstance(typed(client.call("ping")), Ok)
    assert typed({"id": 1, "event": "new", "a": 2}) == Ok({"a": 2})


@pytest.mark.parametrize("code", FACTS)
def test_every_code_has_a_kind(code):
    error = daemon_error({"code": str(code), "message": "m"})
    assert type(error) is KINDS[FACTS[code].family]
    assert error.code == code
    assert type(daemon_error({"code": "of a newer daemon"})) is DaemonError


@given(st.floats(0, 1000))
def test_pauses_grow_and_end(patience):
    found = list(pauses(patience))
    assert sum(found) == pytest.approx(patience)
    assert found[:-1] == sorted(found[:-1])
