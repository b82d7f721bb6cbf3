"""Keys, web pages, TLS, and the addresses that are refused."""

import asyncio
import http.client
import logging
import os
import re
import socket
import ssl
import subprocess

import pytest

from rkllmd.transport.http.access import Keys, check_bind, read_keys
from rkllmd.transport.listen import ListenError, open_unix
from tests.http.scripted import done, face

KEY = "0123456789abcdef"


async def fine(request, call):
    return done("hi")


async def test_a_key_is_asked_for_and_known():
    async with face(fine, keys=(KEY,)) as served:
        for headers in (
            {}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {KEY}"},
            {"Authorization": f"Bearer {KEY}x"}, {"Authorization": "Bearer "},
        ):  # fmt: skip
            answer = await served.get("/v1/models", **headers)
            assert answer.status == 401, headers
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json["error"]["type"] == "authentication_error"
            assert (await served.post("/ask", b"x", **headers)).status == 401
        assert (await served.get("/v1/models", Authorization=f"Bearer {KEY}")).status == 200
        assert (await served.get("/health")).status == 200
        assert not served.handler.requests


async def test_the_unix_socket_needs_no_key(tmp_path):
    async with face(fine, keys=(KEY,)) as served:
        listener = open_unix(tmp_path / "s")
        await served.server.listen(listener.socket)
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        writer.write(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()
    listener.close()


async def test_a_web_page_is_refused_unless_it_is_listed():
    async with face(fine, origins=("https://home.example",)) as served:
        evil = await served.post("/ask", b"x", Origin="http://evil.example")
        ours = await served.post("/ask", b"x", Origin="https://home.example")
        assert evil.status == 403
        assert "access-control-allow-origin" not in evil.headers
        assert ours.status == 200
        assert ours.headers["access-control-allow-origin"] == "https://home.example"
        assert ours.headers["vary"] == "Origin"
        assert len(served.handler.requests) == 1


async def test_a_browser_asks_before_it_sends():
    """The openai package for browsers sends headers of its own besides."""
    wanted = "authorization,content-type,x-stainless-os"
    asks = {"Origin": "https://home.example", "Access-Control-Request-Headers": wanted}
    async with face(fine, keys=(KEY,), origins=("https://home.example",)) as served:
        call = served.http.call
        good = await asyncio.to_thread(call, "OPTIONS", "/ask", **asks)
        bad = await asyncio.to_thread(call, "OPTIONS", "/ask", Origin="http://evil.example")
        none = await asyncio.to_thread(call, "OPTIONS", "/ask")
    assert good.status == 204
    assert good.headers["access-control-allow-headers"] == wanted
    assert (bad.status, none.status) == (403, 405)


async def test_request_ids_come_back():
    async with face(fine) as served:
        own = await served.get("/health", X_Request_Id="abc-1")
        odd = await served.get("/health", X_Request_Id="a b")
        none = await served.get("/nothing")
    assert own.headers["x-request-id"] == "abc-1"
    assert odd.headers["x-request-id"] != "a b"
    assert len(none.headers["x-request-id"]) == 16


async def test_the_log_says_who_asked_for_what_and_no_word_of_it(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, "rkllmd.http")
    listener = open_unix(tmp_path / "s")
    async with face(fine) as served:
        await served.server.listen(listener.socket)
        asked = served.http
        asked.headers["X-Request-Id"] = "r-1"
        await served.chat("a secret")
        await served.chat("a secret", stream=True)
        await served.post("/ask?stream=1&text=secret", b"a secret")
        await served.post("/v1/chat/completions", b'{"secret"')
        await served.get("/v1/models/secret%0A")
        await served.get("/nothing/at%20all?secret=1")
        await served.get("/health")
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        writer.write(
            b"POST /ask HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: r-1\r\n"
            b"Content-Length: 8\r\n\r\na secret"
        )
        await reader.read()
        writer.close()
        await writer.wait_closed()
    listener.close()
    # asyncio says, in its debug mode, when a busy machine was slow.
    ours = [one for one in caplog.records if one.name == "rkllmd.http"]
    lines = [(one.levelname, one.getMessage()) for one in ours]
    here, own = "address 127.0.0.1", f"pid {os.getpid()} uid {os.getuid()}"
    told = [
        ("INFO", "POST /v1/chat/completions 200", here),
        ("INFO", "POST /v1/chat/completions 200", here),
        ("INFO", "POST /ask 200", here),
        ("INFO", "POST /v1/chat/completions 400", here),
        ("DEBUG", "GET /v1/models/secret%0A 200", here),
        ("INFO", "GET /nothing/at%20all 404", here),
        ("DEBUG", "GET /health 200", here),
        ("INFO", "POST /ask 200", own),
    ]
    for (level, line), (wanted, begin, who) in zip(lines, told, strict=True):
        assert level == wanted, line
        assert re.fullmatch(rf"{re.escape(begin)}, \d+ ms, {who} \[r-1\]", line)
        assert "secret" not in line.replace("/v1/models/secret", "")


def test_keys_are_read_from_a_file_that_others_cannot_read(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# the tablet\n{KEY}\n\n  fedcba9876543210\n  # of the old telephone\n")
    file.chmod(0o640)
    keys = read_keys(str(file))
    assert keys.knows(KEY)
    assert keys.knows("fedcba9876543210")
    assert not keys.knows("# of the old telephone")
    assert not keys.knows("")


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [(KEY, 0o644, "others"), (KEY, 0o660, "group"), ("", 0o600, "no key"), ("x", 0o600, "16")],
)
def test_a_file_of_keys_that_is_not_good_is_refused(tmp_path, text, mode, why):
    file = tmp_path / "keys"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(ListenError, match=why):
        read_keys(str(file))


def test_a_file_of_keys_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ListenError, match="cannot be read"):
        read_keys(str(tmp_path / "none"))


def test_an_address_for_everybody_is_refused_without_keys():
    with socket.create_server(("0.0.0.0", 0)) as everybody:
        with pytest.raises(ListenError, match="keys_file"):
            check_bind(everybody, Keys())
        check_bind(everybody, Keys([KEY]))
    with socket.create_server(("127.0.0.1", 0)) as loopback:
        check_bind(loopback, Keys())


def refused(home, *settings):
    """The exit status and log of a daemon that does not start."""
    home.settings += settings
    home.start(wait=False)
    status = home.process.wait(50)
    home.process = None
    return status, home.log.read_text()


def test_the_daemon_does_not_start_on_a_public_address_without_keys(own_home):
    status, log = refused(own_home, "http.host=0.0.0.0")
    assert status == 69
    assert "http.keys_file" in log


def test_the_daemon_does_not_start_with_keys_that_others_can_read(own_home):
    file = own_home.folder / "keys"
    file.write_text(KEY)
    file.chmod(0o644)
    status, log = refused(own_home, "http.keys_file=keys")
    assert status == 69
    assert "chmod" in log


def test_keys_and_tls_on_a_public_address(own_home):
    folder = own_home.folder
    (folder / "keys").write_text(KEY)
    (folder / "keys").chmod(0o600)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost",
         "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    own_home.settings += [
        "http.host=0.0.0.0", "http.keys_file=keys", "http.certificate=cert.pem",
        "http.certificate_key=key.pem", "models.preload=none",
    ]  # fmt: skip
    own_home.start()
    trusting = ssl.create_default_context(cafile=str(folder / "cert.pem"))
    for key, status in ((KEY, 200), ("x", 401)):
        connection = http.client.HTTPSConnection("localhost", own_home.port, context=trusting)
        connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {key}"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status == status


def test_a_port_that_is_taken_is_noted_and_the_rest_is_served(own_home):
    own_home.settings.append("models.preload=none")
    with socket.create_server(("127.0.0.1", own_home.port)):
        own_home.start()
        status = own_home.ask("status")
    assert any(str(own_home.port) in note for note in status["notes"])
    assert (own_home.folder / "run" / "http.sock").is_socket()


def test_the_http_socket_has_its_mode(own_home):
    own_home.settings += ["models.preload=none", 'http.mode="0600"']
    own_home.start()
    assert (own_home.folder / "run" / "http.sock").stat().st_mode & 0o777 == 0o600
