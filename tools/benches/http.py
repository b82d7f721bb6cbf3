"""Streams over HTTP against the socket's: the first token, the tokens behind it, the daemon's work.

The same greedy questions go over the socket, over HTTP on its Unix socket and over HTTP on
loopback, each on one connection that is kept, in an order that changes from turn to turn. What HTTP
adds is its time less the socket's, question by question. Answers of the bundled model are short, so
the work for each token has the request's own in it.
"""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from tools.benches.daemon import BUNDLED, Daemon, cpu_seconds
from tools.benches.lines import Lines
from tools.benches.report import Report, Table, number, spread
from tools.benches.texts import SYSTEM, question

WAYS = {"socket": "socket", "unix": "HTTP, Unix socket", "tcp": "HTTP, loopback"}
RECEIVE_BYTES = 65_536
SILENCE_SECONDS = 120.0
WARM_UP = 5
TOKENS = 64

Sample = tuple[float, float, float]
"""Seconds to the first token, seconds for each token behind it, CPU seconds for each token."""


def measure(model: Path = BUNDLED, rounds: int = 40) -> Report:
    """Streamed answers over each way."""
    port = _free_port()
    with Daemon(model, "cache.learn_after=0", f"http.port={port}") as daemon, ExitStack() as stack:
        daemon.write_prompt("system", SYSTEM)
        daemon.start()
        daemon.wait_ready()
        lines = stack.enter_context(daemon.connect())
        unix = _connected(socket.AF_UNIX, str(daemon.folder / "run" / "http.sock"))
        tcp = _connected(socket.AF_INET, ("127.0.0.1", port))
        for sock in (unix, tcp):
            stack.enter_context(closing(sock))
        asks = {
            "socket": lambda text: _ask_lines(lines, text),
            "unix": lambda text: _ask_http(unix, text),
            "tcp": lambda text: _ask_http(tcp, text),
        }
        samples: dict[str, list[Sample]] = {way: [] for way in WAYS}
        names = list(asks)
        for turn in range(WARM_UP + rounds):
            text = question(turn)
            first = turn % len(names)
            asks[names[first - 1]](text)  # so that all three find the same state
            for way in names[first:] + names[:first]:
                began = cpu_seconds(daemon.pid)
                first_s, total_s, tokens = asks[way](text)
                spent = cpu_seconds(daemon.pid) - began
                if turn >= WARM_UP and tokens > 1:
                    each = (total_s - first_s) / (tokens - 1)
                    samples[way].append((first_s, each, spent / tokens))
    return _report(samples)


def _ask_lines(lines: Lines, text: str) -> tuple[float, float, int]:
    reply = lines.ask("chat", text=text, temperature=0, max_tokens=TOKENS, stream="tokens")
    return reply.first_s, reply.total_s, reply.final["usage"]["completion_tokens"]


def _ask_http(sock: socket.socket, text: str) -> tuple[float, float, int]:
    """A stream of chat completions; the first token is the first delta with content."""
    body = json.dumps(
        {
            "messages": [{"role": "user", "content": text}], "temperature": 0, "stream": True,
            "max_tokens": TOKENS,
        }
    ).encode()  # fmt: skip
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    began = time.perf_counter()
    sock.sendall(head.encode() + body)
    first, tokens = None, 0
    for now, chunk in _chunks(sock):
        if first is None and chunk["choices"][0]["delta"].get("content"):
            first = now
        tokens = chunk.get("timings", {}).get("predicted_n", tokens)
        last = now
    return (first or last) - began, last - began, tokens


def _chunks(sock: socket.socket) -> Iterator[tuple[float, dict[str, Any]]]:
    """The data of a stream's events, and when they came."""
    buffer = b""
    while not buffer.endswith(b"0\r\n\r\n"):
        data = sock.recv(RECEIVE_BYTES)
        if not data:
            raise SystemExit("the daemon closed the connection")
        buffer += data
        now = time.perf_counter()
        *whole, rest = buffer.split(b"\n\n")
        for event in whole:
            found = event.partition(b"data: ")[2]
            if found and found != b"[DONE]":
                yield now, json.loads(found)
        buffer = rest


def _report(samples: dict[str, list[Sample]]) -> Report:
    report = Report("http", samples={way: list(found) for way, found in samples.items()})
    titles = (
        ("First token, ms", 1e3), ("Each token behind it, ms", 1e3),
        ("The daemon's CPU time for each token, µs", 1e6),
    )  # fmt: skip
    for column, (title, scale) in enumerate(titles):
        measured = {way: [one[column] * scale for one in found] for way, found in samples.items()}
        rows = [(text, *map(number, spread(measured[way]))) for way, text in WAYS.items()]
        for way in ("unix", "tcp"):
            added = [a - b for a, b in zip(measured[way], measured["socket"], strict=True)]
            rows.append((f"added by {WAYS[way]}", *map(number, spread(added))))
        report.tables.append(Table(title, ("", "min", "median", "max"), rows))
    return report


def _connected(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family)
    sock.settimeout(SILENCE_SECONDS)
    sock.connect(address)
    return sock


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
