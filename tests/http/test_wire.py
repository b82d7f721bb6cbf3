"""Connections that leave, trickle, stall, ask too much, or meet a server that leaves."""

import asyncio
import contextlib
import gzip
import json
import os

import pytest
from aiohttp import web

from rkllmd.protocol.messages import Delta, Sentence
from rkllmd.transport.listen import open_unix
from tests.http.scripted import done, face, silent

QUICK = 0.2


def post(path, body, *headers):
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(sent)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + sent


def chat(**members):
    return post("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], **members})


async def closed(writer):
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def endless(request, call):
    """Writes until it is cancelled."""
    while call.stop.reason is None:
        await call.send(Delta("x" * 1000))
        await asyncio.sleep(0)
    return done("", "cancelled")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_during_the_prefill_cancels(stream):
    ended = asyncio.Event()

    async def play(request, call):
        reply = await silent(request, call)
        ended.set()
        return reply

    async with face(play) as served:
        _, writer = await served.connect()
        writer.write(chat(stream=stream))
        await served.handler.started.wait()
        await closed(writer)
        await ended.wait()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat", "/ask?stream=1"])
async def test_a_client_that_is_reset_while_it_reads_cancels(path):
    ended = asyncio.Event()

    async def play(request, call):
        reply = await endless(request, call)
        ended.set()
        return reply

    body = {"messages": [{"role": "user", "content": "x"}], "stream": True, "text": "x"}
    async with face(play) as served:
        _, writer = await served.connect()
        writer.write(post(path, body))
        await served.handler.started.wait()
        writer.transport.abort()
        await ended.wait()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat", "/ask?stream=1"])
async def test_a_write_that_finds_the_client_gone_is_a_cancel_too(path, monkeypatch):
    async def refuse(self, data):
        raise ConnectionResetError("Cannot write to closing transport")

    monkeypatch.setattr(web.StreamResponse, "write", refuse)
    ended = asyncio.get_running_loop().create_future()

    async def play(request, call):
        try:
            await call.send(Delta("One sentence."))
            await call.send(Sentence(1, "One sentence."))
        except Exception as error:
            ended.set_exception(error)
            raise
        ended.set_result(call.stop.reason)
        return done("", "cancelled")

    body = {"messages": [{"role": "user", "content": "x"}], "stream": True, "text": "x"}
    async with face(play) as served:
        _, writer = await served.connect()
        writer.write(post(path, body))
        assert await ended == "cancelled"
        await closed(writer)


async def test_an_operation_that_does_not_end_by_itself_is_ended(monkeypatch):
    monkeypatch.setattr("rkllmd.transport.http.wire.GRACE_SECONDS", 0.05)
    ended = asyncio.Event()

    async def stubborn(request, call):
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with face(stubborn) as served:
        _, writer = await served.connect()
        writer.write(chat())
        await served.handler.started.wait()
        await closed(writer)
        await ended.wait()


async def test_a_client_that_does_not_read_loses_its_connection_and_nobody_else():
    async def play(request, call):
        if request.max_tokens == 1:
            return done("fine")
        return await endless(request, call)

    async with face(play, stall_s=QUICK) as served:
        reader, writer = await served.connect()
        reader._limit = 1 << 12
        writer.transport.pause_reading()
        writer.write(chat(stream=True))
        await served.handler.started.wait()
        assert (await served.chat(max_tokens=1)).status == 200
        (call, *_) = served.handler.calls
        await call.stop.wait()
        await closed(writer)


@pytest.mark.parametrize("head", [b"", b"POST /ask HT", b"POST /ask HTTP/1.1\r\nHost: x\r\nA"])
async def test_a_head_that_does_not_come_is_not_waited_for(head):
    async with face(silent, idle_s=QUICK) as served:
        reader, writer = await served.connect()
        writer.write(head)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        await closed(writer)


async def test_bytes_that_trickle_in_do_not_prolong_the_wait():
    async with face(silent, idle_s=QUICK) as served:
        reader, writer = await served.connect()
        gone = asyncio.ensure_future(reader.read())
        with contextlib.suppress(ConnectionError):
            while not gone.done():
                writer.write(b"GET /health HTTP/1.1\r\nX: y"[:1])
                await asyncio.wait({gone}, timeout=QUICK / 10)
            await gone
        await closed(writer)


async def test_a_head_that_has_no_end_is_cut_off(monkeypatch):
    monkeypatch.setattr("rkllmd.transport.http.wire.HEAD_BYTES_MAX", 1000)
    async with face(silent) as served:
        reader, writer = await served.connect()
        writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"X: yyyyyyyyyyyyyyyyyyyy\r\n" * 50)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        await closed(writer)


async def test_a_refused_body_may_be_sent_to_its_end_and_the_next_request_is_heard(monkeypatch):
    monkeypatch.setattr("rkllmd.transport.http.wire.HEAD_BYTES_MAX", 1000)
    async with face(silent) as served:
        reader, writer = await served.connect()
        writer.write(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")
        assert (await reader.readuntil(b"}}")).startswith(b"HTTP/1.1 404 ")
        writer.write(b"x" * 5000 + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/1.1 200 " in await reader.readuntil(b"}")
        await closed(writer)


async def test_the_whole_address_may_stand_in_the_first_line():
    async with face(silent) as served:
        reader, writer = await served.connect()
        writer.write(
            b"GET http://rkllmd:80/health?x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        await closed(writer)


@pytest.mark.parametrize(
    ("body", "headers", "why"),
    [
        (
            gzip.compress(b"hi", mtime=0),
            {"Content_Encoding": "gzip"},
            b"Content-Encoding: found 'gzip'",
        ),
        ("Küche".encode("latin-1"), {}, b"not UTF-8 at byte 1"),
        ("\ufeffKüche".encode(), {}, b"byte order mark"),
        (b"what\0else", {}, b"NUL"),
        (b" \n", {}, b"allowed: a text of at least 1"),
    ],
)
async def test_words_that_cannot_be_taken_are_refused_with_the_reason(body, headers, why):
    async with face(silent) as served:
        answer = await served.post("/ask", body, **headers)
        assert (answer.status, why in answer.body) == (400, True), answer
        assert not served.handler.requests


async def test_a_body_that_does_not_come_is_answered_and_takes_no_turn():
    async with face(silent, body_s=QUICK) as served:
        reader, writer = await served.connect()
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        answer = await reader.read()
        await closed(writer)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert not served.handler.requests


async def test_a_body_that_is_too_long_is_refused_before_it_was_sent():
    async with face(silent, body_bytes_max=1024) as served:
        for announced in ("Content-Length: 99999", "Transfer-Encoding: chunked"):
            reader, writer = await served.connect()
            head = f"POST /ask HTTP/1.1\r\nHost: x\r\n{announced}\r\n\r\n"
            body = "800\r\n" + "x" * 2048 + "\r\n0\r\n\r\n" if "chunked" in announced else ""
            writer.write((head + body).encode())
            answer = await reader.read()
            await closed(writer)
            assert answer.startswith(b"HTTP/1.1 413 ")


async def test_hundred_continue():
    async def play(request, call):
        return done("hi")

    async with face(play) as served:
        reader, writer = await served.connect()
        head, _, body = chat().partition(b"\r\n\r\n")
        writer.write(head + b"\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        await closed(writer)


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"[]", b"null", b'{"messages": NaN}', b"\xff\xfe", b'{"a":1,"a":2}',
        b'{"messages":' + b"[" * 500 + b"]" * 500 + b"}", b'{"messages":[{"role":"user"}]',
        b"\x1f\x8b\x08\x00", b'{"messages":[{"role":"king","content":"x"}]}', b"",
    ],
)  # fmt: skip
async def test_a_body_that_is_none_is_a_400_with_the_shape_of_an_error(body):
    async with face(silent) as served:
        answer = await served.post("/v1/chat/completions", body)
        again = await served.get("/health")
    assert answer.status == 400
    assert answer.json["error"].keys() == {"message", "type", "code", "param"}
    assert again.status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GARBAGE\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /ask HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)  # fmt: skip
async def test_what_is_no_http_is_refused_without_an_alarm(sent, caplog):
    async with face(silent) as served:
        reader, writer = await served.connect()
        writer.write(sent)
        assert (await reader.readline()).split()[1] == b"400"
        await closed(writer)
        assert (await served.get("/health")).status == 200
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


async def test_more_clients_than_there_may_be_are_closed():
    async with face(silent, connections_max=2) as served:
        kept = [await served.connect() for _ in range(2)]
        reader, writer = await served.connect()
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        for _, one in [*kept, (reader, writer)]:
            await closed(one)


async def test_requests_on_one_connection_follow_each_other():
    async def play(request, call):
        return done(request.messages[0].content)

    async with face(play) as served:
        reader, writer = await served.connect()
        writer.write(chat() * 3)
        heard = b""
        while heard.count(b"chat.completion") < 3:
            heard += await reader.read(4096)
        await closed(writer)


async def test_leaving_lets_answers_finish_and_refuses_new_ones():
    go = asyncio.Event()

    async def play(request, call):
        await go.wait()
        return done("finished")

    async with face(play) as served:
        first = asyncio.create_task(served.chat())
        await served.handler.started.wait()
        leaving = asyncio.create_task(served.server.close(30))
        await asyncio.sleep(0)
        with pytest.raises(ConnectionError):
            await served.chat()
        go.set()
        await leaving
        assert (await first).json["choices"][0]["message"]["content"] == "finished"


async def test_leaving_in_a_hurry_cancels_and_says_so():
    async with face(silent) as served:
        first = asyncio.create_task(served.chat())
        await served.handler.started.wait()
        await served.server.close(0)
        answer = await first
    assert answer.status == 503
    assert answer.json["error"]["code"] == "shutting_down"


async def test_leaving_ends_what_does_not_end_by_itself():
    async def stubborn(request, call):
        await asyncio.Event().wait()

    async with face(stubborn) as served:
        first = asyncio.create_task(served.chat())
        await served.handler.started.wait()
        await served.server.close(0)
        assert (await first).status == 503


async def test_a_unix_socket_says_who_asks(tmp_path):
    async def play(request, call):
        return done(f"{call.caller.transport} {call.caller.uid} {call.caller.pid}")

    async with face(play) as served:
        listener = open_unix(tmp_path / "http.sock")
        await served.server.listen(listener.socket)
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "http.sock"))
        writer.write(chat())
        answer = await reader.readuntil(b"}}")
        await closed(writer)
    listener.close()

    assert f"http {os.getuid()} {os.getpid()}".encode() in answer
