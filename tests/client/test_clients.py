"""Both clients on a running daemon: many requests, cancelling, restarts, errors by kind."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.client import (
    AsyncClient,
    BadRequest,
    Client,
    ConnectionLost,
    NotHere,
    asynchronous,
    blocking,
)
from rkllmd.client.connecting import pauses
from rkllmd.client.events import Ok, typed
from rkllmd.client.problems import KINDS, DaemonError, daemon_error
from rkllmd.errors import FACTS
from rkllmd.protocol.messages import Delta, Done
from tests.daemon.household import PATIENCE_SECONDS, ROOT

LONG = {"text": "go", "max_tokens": 1500, "stream": "tokens"}


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


@pytest.mark.parametrize("then", ["session.truncate", "chat"])
async def test_what_was_left_is_in_the_history(then, running):
    hello = {"text": "hello", "temperature": 0, "max_tokens": 5}
    session = f"left before {then}"
    async with AsyncClient(path(running)) as client:
        first = await client.call("chat", session=session, **hello)
        async with aclosing(client.events("chat", session=session, **LONG)) as events:
            said = ""
            while len(said) <= 3:
                said += (await anext(events)).get("text", "")
        if then == "chat":
            await client.call("chat", session=session, **hello)
        else:
            assert await client.truncate(session, said[:3]) == said[:3]
        history = (await client.call("session.show", session=session))["messages"]
    contents = [one["content"] for one in history]
    assert contents[:3] == ["hello", first["text"], "go"]
    assert contents[3].startswith(said) if then == "chat" else contents[3] == said[:3]


def test_one_connection_ends_what_another_began(running):
    with running.client() as speaking, running.client() as hearing:
        answer = speaking.events("chat", session="shared", **LONG)
        next(answer)
        assert hearing.cancel("shared") == 1
        assert list(answer)[-1]["reason"] == "cancelled"
        assert hearing.cancel("shared") == 0


def test_open_requests_of_one_connection_do_not_disturb_each_other(running):
    ask = {"text": "hello", "temperature": 0, "max_tokens": 5}
    with running.client() as client:
        alone = client.call("chat", **ask)["text"]
        first, second = client.events("chat", **ask), client.events("chat", **ask)
        heard = [next(first)]
        assert list(second)[-1]["text"] == alone
        assert client.call("ping")["event"] == "ok"
        heard += first
    assert heard[-1]["text"] == alone
    assert "".join(one["text"] for one in heard if one["event"] == "delta") == alone


def test_an_answer_ends_with_its_connection(running):
    client = running.client()
    answer, waiting = client.events("chat", **LONG), client.events("chat", **LONG)
    next(answer)
    client.close()
    with pytest.raises(ConnectionLost, match="closed"):
        next(answer)
    assert client.call("ping")["event"] == "ok", "closed is not over"
    next(waiting)
    client.close()
    waiting.close()


async def test_an_answer_ends_with_its_connection_on_a_loop(running):
    client = AsyncClient(path(running))
    async with aclosing(client.events("chat", **LONG)) as answer:
        await anext(answer)
        await client.close()
        with pytest.raises(ConnectionLost, match="closed"):
            async for _ in answer:
                pass
    assert (await client.call("ping"))["event"] == "ok"
    await client.close()


@pytest.mark.parametrize("turns", range(8))
async def test_a_connection_that_is_closed_as_soon_as_it_is_open(turns, running):
    client = AsyncClient(path(running))
    asking = asyncio.create_task(client.call("chat", **LONG))
    for _ in range(turns):
        await asyncio.sleep(0)
    await client.close()
    await client.close()
    if not client._inboxes:  # it was not asked yet
        asking.cancel()
    with pytest.raises((ConnectionLost, asyncio.CancelledError)):
        await asyncio.wait_for(asking, PATIENCE_SECONDS)
    await client.close()


async def test_a_close_can_be_cancelled(running):
    client = AsyncClient(path(running))
    await client.call("ping")
    closing = asyncio.create_task(client.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing


async def test_requests_that_wait_together_wait_no_longer_than_one(tmp_path, monkeypatch):
    patience = []
    monkeypatch.setattr(asynchronous, "pauses", lambda s: patience.append(s) or pauses(s))
    async with AsyncClient(tmp_path / "none", patience_s=0.1) as client:
        calls = (client.call("ping") for _ in range(3))
        lost = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in lost] == [ConnectionLost] * 3
    assert max(patience[1:]) < 0.01, patience


def test_a_restart_between_two_requests_is_no_failure(household):
    household.start()
    with household.client() as client:
        assert client.call("ping")["event"] == "ok"
        household.restart()
        answer = client.events("chat", **LONG)
        next(answer)
        household.stop(9)
        with pytest.raises(ConnectionLost, match="has left"):
            list(answer)
        with pytest.raises(ConnectionLost, match="cannot reach"):
            client.call("ping")


def test_a_daemon_that_hangs_is_waited_for_no_longer_than_was_said(tmp_path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        with (
            Client(tmp_path / "socket", timeout_s=0.1) as client,
            pytest.raises(ConnectionLost, match=r"says nothing for 0\.1 s"),
        ):
            client.call("ping")


def test_a_long_reply_in_many_pieces_and_short_ones_in_one(tmp_path):
    texts = ("a" * (8 << 20), "b")
    told = [{"id": 1, "event": "delta", "text": text} for text in texts]
    told.append({"id": 1, "event": "ok", "final": True})
    with socket.socket(socket.AF_UNIX) as listening, Client(tmp_path / "socket") as client:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()

        def tell():
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"".join(json.dumps(one).encode() + b"\n" for one in told))

        telling = threading.Thread(target=tell)
        telling.start()
        assert list(client.events("embed")) == told
        telling.join()


def test_leaving_waits_no_longer_for_a_daemon_that_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(blocking, "CANCEL_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as listening, Client(tmp_path / "socket") as client:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        answer = client.events("chat", text="hello")
        asking = threading.Thread(target=next, args=(answer,))
        asking.start()
        connection, _ = listening.accept()
        connection.settimeout(PATIENCE_SECONDS)
        delta = b'{"id": 1, "event": "delta", "text": "Hi"}\n'
        connection.sendall(delta)
        asking.join()
        answer.close()
        assert client.timeout_s is None
        with connection, connection.makefile("rb") as heard:
            said = [json.loads(line)["op"] for line in heard]
    assert said == ["chat", "cancel"], "and then the end of the stream, which cancels too"


FORKING = """
import os, sys
from rkllmd.client import Client, ConnectionLost

with Client(sys.argv[1], timeout_s=50) as client:
    answer = client.events("chat", text="hello", temperature=0, max_tokens=5)
    first = next(answer)
    child = os.fork()
    if child == 0:
        try:
            next(answer)
        except ConnectionLost:
            sys.exit(client.call("ping")["event"] != "ok")
    assert os.waitpid(child, 0)[1] == 0, "the child heard its parent's answer"
    *deltas, done = [first, *answer]
    assert done["reason"] != "cancelled"
    assert done["text"] == "".join(one["text"] for one in deltas if one["event"] == "delta")
"""


def test_a_fork_leaves_the_connection_to_the_parent(running):
    command = [sys.executable, "-c", FORKING, path(running)]
    subprocess.run(command, check=True, cwd=ROOT, timeout=PATIENCE_SECONDS)


def test_where_no_path_is_named(running, monkeypatch):
    monkeypatch.setenv("RKLLMD_SOCKET", path(running))
    with Client() as client:
        assert client.call("ping")["event"] == "ok"
    monkeypatch.setenv("RKLLMD_SOCKET", "")
    assert Client().path == AsyncClient().path == "/run/rkllmd/rkllmd.sock"


def test_nothing_but_the_standard_library_is_needed():
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); known = set(sys.modules)\n"
        "import rkllmd.client.asynchronous, rkllmd.client.blocking, rkllmd.client.events\n"
        "roots = {name.split('.')[0] for name in sys.modules.keys() - known}\n"
        "print(*roots - sys.stdlib_module_names)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True,
        timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert done.stdout.split() == ["rkllmd"]


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


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 400 no\n", b"[1]\n", b"[]\n", b"12\n", b'{"QMP": {}}\n']
)
async def test_a_socket_that_is_no_daemon(said, tmp_path):
    async def rude(reader, writer):
        await reader.readline()
        writer.write(said)
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(rude, tmp_path / "socket")
    async with server, AsyncClient(str(tmp_path / "socket")) as client:
        with pytest.raises(ConnectionLost, match="no rkllmd"):
            await client.call("ping")


@pytest.mark.parametrize("name", ["id", "op"])
async def test_what_the_library_says_itself_is_no_member(name, running):
    with running.client() as client, pytest.raises(BadRequest, match=f"{name}: found"):
        client.call("ping", **{name: 7})
    async with AsyncClient(path(running)) as client:
        with pytest.raises(BadRequest, match=f"{name}: found"):
            await client.call("ping", **{name: 7})


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
