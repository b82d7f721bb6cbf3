"""Connections, requests and their ends, over real sockets."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from rkllmd.errors import Code


async def test_a_request_and_its_reply(house):
    client = await house.client()
    assert await client.ask("ping", id=7) == {"id": 7, "event": "ok", "final": True}


async def test_absent_ids_may_be_open_together_and_are_null(house):
    client = await house.client()
    client.write(b'{"op":"ping"}\n\r\n  \n{"op":"ping","id":null}\r\n')
    assert [(await client.hear())["id"] for _ in range(2)] == [None, None]


@pytest.mark.parametrize(
    "identity", ["1.0", "1", '"1"', "[1, 2]", '{"a": null}', "true", "1e2", "9" * 300]
)
async def test_ids_come_back_as_they_were_written(house, identity):
    client = await house.client()
    client.write(f'{{"op":"ping","id":{identity}}}\n'.encode())
    assert (await client.reader.readline()).startswith(f'{{"id":{identity},'.encode())


async def test_requests_of_one_connection_interleave(house):
    client = await house.client()
    client.say("chat", id="a", text="a" * 50)
    client.say("chat", id="b", text="b" * 50)
    heard, open_ids = [], {"a", "b"}
    while open_ids:
        line = await client.hear()
        heard.append(line["id"])
        if line.get("final"):
            open_ids.discard(line["id"])
            assert line["text"] == line["id"] * 50
    assert heard.index("b") < len(heard) - heard[::-1].index("a") - 1


async def test_a_hundred_requests_in_flight_on_one_connection(house):
    client = await house.client()
    for number in range(100):
        client.say("chat", id=number, text=f"answer {number}")
    texts: dict[int, str] = dict.fromkeys(range(100), "")
    finals = {}
    while len(finals) < 100:
        line = await client.hear()
        if line.get("final"):
            assert line["id"] not in finals
            finals[line["id"]] = line["text"]
        else:
            assert line["id"] not in finals
            texts[line["id"]] += line["text"]
    assert texts == finals == {number: f"answer {number}" for number in range(100)}


async def test_many_requests_in_one_write_are_all_answered(house):
    client = await house.client()
    client.write(b'{"op":"ping"}\n' * 5000)
    client.writer.write_eof()
    lines = await client.rest()
    assert len(lines) == 5000
    assert {line["event"] for line in lines} == {"ok"}


async def test_an_open_id_is_refused_and_a_closed_one_is_free(house):
    client = await house.client()
    client.say("complete", id="x", prompt="silent")
    refused = await client.ask("ping", id="x")
    assert (refused["code"], refused["details"]["member"]) == ("bad_request", "id")
    client.say("cancel", id="c", target="x")
    ends = {line["id"]: line for line in [await client.hear(), await client.hear()]}
    assert ends["c"]["cancelled"] == 1
    assert ends["x"]["reason"] == "cancelled"
    assert (await client.ask("ping", id="x"))["event"] == "ok"


async def test_too_many_requests_name_the_bound(house_in):
    async with house_in(requests_max=2) as house:
        client = await house.client()
        for number in range(2):
            client.say("complete", id=number, prompt="silent")
        refused = await client.ask("ping", id="late")
        assert (refused["code"], refused["details"]) == ("queue_full", {"limit": 2})
        assert refused["retryable"] is True


async def test_too_many_connections_are_told(house_in):
    async with house_in(connections_max=1) as house:
        first = await house.client()
        assert (await first.ask("ping"))["event"] == "ok"
        second = await house.client()
        second.say("ping")
        lines = await second.rest()
        assert [line["code"] for line in lines] == ["queue_full"]
        assert (await first.ask("ping"))["event"] == "ok"


async def test_one_connection_can_come_after_another_left(house_in):
    async with house_in(connections_max=1) as house:
        for _ in range(5):
            client = await house.client()
            assert (await client.ask("ping"))["event"] == "ok"
            client.writer.write_eof()
            assert await client.rest() == []


@pytest.mark.parametrize("code", list(Code))
async def test_every_code_a_handler_raises_is_told(house, code):
    client = await house.client()
    line = await client.ask("tokenize", id=1, text=code)
    assert (line["id"], line["event"], line["code"]) == (1, "error", code)
    assert line["hint"]
    assert line["details"] == {"member": "text"}


@pytest.mark.parametrize("trouble", ["bug", "cancelled", "unserialisable"])
async def test_a_bug_is_internal_and_reaches_the_hook(house, trouble, caplog):
    client = await house.client()
    assert (await client.ask("embed", id=1, input=trouble))["code"] == "internal"
    assert (await client.ask("ping"))["event"] == "ok"
    assert len(house.handler.bugs) == 1
    assert "Traceback" in caplog.text


async def test_the_caller_is_the_process_that_connected(house):
    client = await house.client()
    line = await client.ask("status")
    assert (line["who"], line["uid"], line["gid"]) == (os.getpid(), os.getuid(), os.getgid())


async def test_garbage_is_answered_and_the_connection_goes_on(house):
    client = await house.client()
    client.write(b'\xff\n[1]\n{"op":"nope","id":3}\n{"id":4}\n')
    lines = [await client.hear() for _ in range(4)]
    assert [(line["id"], line["code"]) for line in lines] == [
        (None, "bad_json"), (None, "bad_json"), (3, "unknown_op"), (4, "bad_request")
    ]  # fmt: skip
    assert (await client.ask("ping"))["event"] == "ok"


async def test_a_line_of_the_largest_size_is_taken(house):
    client = await house.client()
    head, tail = b'{"op":"complete","prompt":"released","x":"', b'"}'
    house.handler.release.set()
    client.write(head + b"y" * (4_194_304 - len(head + tail)) + tail + b"\n")
    assert (await client.hear())["text"] == "released"


async def test_a_longer_line_is_told_after_what_is_open_and_closes(house):
    client = await house.client()
    client.say("complete", id=1, prompt="released")
    await house.handler.started.wait()
    client.write(b"x" * 6_000_000 + b'\n{"op":"ping","id":2}\n')
    told = await client.hear()
    assert (told["id"], told["code"]) == (None, "line_too_long")
    house.handler.release.set()
    assert [(line["id"], line["text"]) for line in await client.rest()] == [(1, "released")]


async def test_half_close_finishes_flushes_and_closes(house):
    client = await house.client()
    for number in range(3):
        client.say("chat", id=number, text="hello")
    client.writer.write_eof()
    finals = [line for line in await client.rest() if line.get("final")]
    assert sorted((line["id"], line["text"]) for line in finals) == [
        (number, "hello") for number in range(3)
    ]


async def test_half_close_without_a_newline_is_a_request_too(house):
    client = await house.client()
    client.write(b'{"op":"ping","id":1}')
    client.writer.write_eof()
    assert [line["event"] for line in await client.rest()] == ["ok"]


async def gone(house):
    """Wait until the server has let go of everyone."""
    await house.server._nobody.wait()


@pytest.mark.parametrize("half_closed_before", [False, True])
async def test_a_client_that_closes_cancels_a_silent_request(house, half_closed_before):
    client = await house.client()
    client.say("complete", prompt="silent")
    await house.handler.started.wait()
    if half_closed_before:
        client.writer.write_eof()
        await asyncio.sleep(0.02)
        assert not house.handler.cancelled.is_set()
    client.writer.transport.abort()
    await house.handler.cancelled.wait()
    await gone(house)


async def test_a_killed_client_cancels_all_its_requests_and_nobody_elses(house):
    other = await house.client()
    other.say("complete", id="other", prompt="silent")
    program = (
        "import socket,sys,time; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        'b=b\'{"op":"complete","id":%d,"prompt":"silent"}\\n\';'
        "[s.sendall(b % n) for n in range(5)]; s.shutdown(socket.SHUT_WR); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(house.path)]) as process:
        while len(house.handler.calls) < 6:
            house.handler.started.clear()
            await house.handler.started.wait()
        process.send_signal(signal.SIGKILL)
        for call in house.handler.calls:
            if call.caller.pid == process.pid:
                await call.stop.wait()
    mine = [call for call in house.handler.calls if call.caller.pid == os.getpid()]
    assert [call.stop.is_set() for call in mine] == [False]
    assert (await other.ask("ping"))["event"] == "ok"


async def test_what_was_sent_before_leaving_is_still_done(house):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(house.path))
        sock.sendall(b'{"op":"ping"}\n' * 3)
    await house.handler.started.wait()
    await gone(house)
    assert len(house.handler.calls) >= 1


async def test_an_operation_that_ignores_the_end_is_ended_by_force(house_in):
    async with house_in(grace_s=0.05) as house:
        client = await house.client()
        client.say("complete", prompt="stubborn")
        await house.handler.started.wait()
        client.writer.transport.abort()
        await gone(house)


async def test_a_client_that_does_not_read_loses_its_connection_and_others_notice_nothing(house_in):
    async with house_in(outbox_bytes_max=65_536, stall_s=0.2) as house:
        slow = socket.socket(socket.AF_UNIX)
        slow.connect(str(house.path))
        slow.sendall(b'{"op":"complete","id":1,"prompt":"endless"}\n')
        other = await house.client()
        await house.handler.started.wait()
        slow_call = house.handler.calls[0]
        while not slow_call.stop.is_set():
            assert (await other.ask("chat", text="hello"))["text"] == "hello"
            assert biggest_buffer(house) < 65_536 + 40_000
        data = await asyncio.to_thread(read_all, slow)
        lines = [json.loads(line) for line in data.splitlines()]
        assert lines[-1]["code"] == "slow_client"
        assert all(line["event"] == "delta" for line in lines[:-1])
        assert (await other.ask("ping"))["event"] == "ok"


def read_all(sock):
    with sock:
        return b"".join(iter(lambda: sock.recv(1 << 16), b""))


def biggest_buffer(house):
    return max(c._transport.get_write_buffer_size() for c in house.server._clients)


async def test_a_client_that_floods_and_never_reads_is_bounded(house_in):
    async with house_in(outbox_bytes_max=65_536, stall_s=0.2) as house:
        flood = socket.socket(socket.AF_UNIX)
        flood.connect(str(house.path))

        def pour_for_ever():
            while True:
                flood.sendall(b"[]\n" * 1000)

        def pour():
            with pytest.raises(OSError, match=r"Broken pipe|reset"):
                pour_for_ever()

        pouring = asyncio.get_running_loop().run_in_executor(None, pour)
        other = await house.client()
        while not pouring.done():
            assert (await other.ask("ping"))["event"] == "ok"
            assert biggest_buffer(house) < 65_536 + 10_000
        await pouring
        flood.close()


async def test_a_client_that_reads_slowly_gets_everything(house_in):
    async with house_in(outbox_bytes_max=65_536, stall_s=5) as house:
        client = await house.client()
        client.writer.transport.pause_reading()
        client.say("complete", id=1, prompt="endless")
        await house.handler.started.wait()
        while not next(iter(house.server._clients))._outbox.is_full:
            await asyncio.sleep(0)
        client.writer.transport.resume_reading()
        for _ in range(500):
            assert (await client.hear())["text"] == "x" * 1000
        client.say("cancel", id=2, target=1)
        finals = []
        while len(finals) < 2:
            line = await client.hear()
            finals += [line["id"]] if line.get("final") else []
        assert sorted(finals) == [1, 2]


async def test_half_closed_and_not_reading_does_not_stay_for_ever(house_in):
    async with house_in(stall_s=0.1) as house:
        sock = socket.socket(socket.AF_UNIX)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(str(house.path))
        sock.sendall(json.dumps({"op": "chat", "text": "x" * 8000}).encode())
        sock.shutdown(socket.SHUT_WR)
        await house.handler.started.wait()
        await gone(house)
        sock.close()


async def test_five_hundred_idle_connections_do_not_wake_the_loop(house):
    clients = [await house.client() for _ in range(500)]
    assert (await clients[-1].ask("ping"))["event"] == "ok"
    before = asyncio.get_running_loop()._selector.get_map()
    assert len(before) >= 1001
    turns = 0
    original = asyncio.get_running_loop()._run_once

    def counted():
        nonlocal turns
        turns += 1
        original()

    asyncio.get_running_loop()._run_once = counted
    await asyncio.sleep(0.2)
    del asyncio.get_running_loop()._run_once
    assert turns < 10
    for client in clients[::100]:
        assert (await client.ask("ping"))["event"] == "ok"


async def test_draining_refuses_new_requests_and_lets_open_ones_end(house):
    client = await house.client()
    client.say("complete", id=1, prompt="released")
    await house.handler.started.wait()
    closing = asyncio.create_task(house.server.close(drain_s=30))
    await asyncio.sleep(0)
    assert (await client.ask("ping", id=2))["code"] == "shutting_down"
    with pytest.raises(OSError, match="refused"):
        await house.client()
    house.handler.release.set()
    assert (await client.hear())["text"] == "released"
    await closing
    assert await client.rest() == []


async def test_after_the_drain_requests_are_cancelled_and_told(house):
    client = await house.client()
    client.say("complete", id=1, prompt="silent")
    await house.handler.started.wait()
    await house.server.close(drain_s=0.01)
    assert [line["code"] for line in await client.rest()] == ["shutting_down"]


async def test_after_the_grace_requests_are_ended_by_force_and_told(house_in):
    async with house_in(grace_s=0.05) as house:
        client = await house.client()
        client.say("complete", id=1, prompt="stubborn")
        await house.handler.started.wait()
        await house.server.close()
        assert [line["code"] for line in await client.rest()] == ["shutting_down"]


async def test_a_second_close_shortens_the_first(house):
    client = await house.client()
    client.say("complete", id=1, prompt="silent")
    await house.handler.started.wait()
    patient = asyncio.create_task(house.server.close(drain_s=3600))
    await asyncio.sleep(0)
    await house.server.close()
    await patient
    assert [line["code"] for line in await client.rest()] == ["shutting_down"]


async def test_lines_that_wait_when_the_server_leaves_do_no_harm(house):
    client = await house.client()
    client.write(b'{"op":"ping"}\n' * 3000)
    await house.handler.started.wait()
    await house.server.close()
    lines = [line for line in await client.rest() if line["event"] == "error"]
    assert {line["code"] for line in lines} <= {"shutting_down"}


async def test_nothing_follows_the_final_line(house):
    client = await house.client()
    assert (await client.ask("ping", id=1))["event"] == "ok"
    call = house.handler.calls[0]
    from rkllmd.errors import InternalError
    from rkllmd.protocol.messages import Delta

    with pytest.raises(InternalError):
        await call.send(Delta("late"))
    assert (await client.ask("ping", id=2))["id"] == 2
