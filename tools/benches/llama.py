"""The llama engine through daemon and socket against llama.cpp's own server, on the same file.

    cold    nothing is used of what is held: the whole prompt is computed
    cached  the prefix of about 1,000 tokens is held from the question before

Both sides make tokens of the same text and answer greedily, in turns, the first of each pair
changing; a cold question is followed by `CACHED_IN_A_ROUND` cached ones. The server is that of the
same wheel, in a process of its own, asked over HTTP on loopback; connecting does not count. Both
compute on `THREADS` threads; the server's other settings are its own. What is compared is the
median of the differences of the pairs, so that what else the machine does falls on both. The CPU
time of an answer, of daemon and worker together or of the server, has less of that in it.

`--model` may be any GGUF for llama.cpp; without it a random one of 100 million parameters is made.
"""

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from rkllmd.chat.builtin import choose
from rkllmd.chat.template import ChatTemplate
from rkllmd.protocol.messages import Message
from tools.benches.daemon import BUNDLED, MODEL, ROOT, Daemon, cpu_seconds
from tools.benches.lines import Lines
from tools.benches.report import Report, Table, number, spread
from tools.benches.texts import question, system_prompt
from tools.gguf_write import Q8_0
from tools.random_model import TEMPLATE, Sizes, write_random_model

SIZES = Sizes(
    width=768, layers=12, heads=12, kv_heads=4, inner=2048, vocabulary=32_000, context=2048
)
"""100 million parameters."""
THREADS = 1
PREFIX_TOKENS = 1000
ANSWER_TOKENS = 32
ROUNDS = 9
SETTLING_ROUNDS = 1
CACHED_IN_A_ROUND = 5
"""They are short, so that one is easily disturbed."""
SIDES = ("rkllmd", "llama.cpp")
WAYS = ("cold", "cached")

FIGURES = (
    ("First token", "ms"),
    ("Tokens behind the first one", "tokens/s"),
    ("CPU time of a whole answer", "ms"),
)

Sample = tuple[float, float, float]
"""In that order."""


def measure(model: Path = BUNDLED, rounds: int = ROUNDS) -> Report:
    """Both sides in turns."""
    with ExitStack() as stack:
        if model == BUNDLED:
            model = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "random.gguf"
            write_random_model(model, SIZES, kind=Q8_0)
        daemon = stack.enter_context(
            Daemon(model, f"engine.threads={THREADS}", "cache.learn_after=0")
        )
        daemon.start()
        daemon.wait_ready()
        lines = stack.enter_context(daemon.connect())
        server, server_pid = stack.enter_context(own_server(model))

        def count_tokens(text: str) -> int:
            return len(lines.ask("tokenize", text=text).final["tokens"])

        system = system_prompt(PREFIX_TOKENS, "Answer.", count_tokens)
        lines.ask("cache.create", model=MODEL, name="system", prompt=system)
        samples: dict[str, dict[str, list[Sample]]] = {
            way: {side: [] for side in SIDES} for way in WAYS
        }
        asked = same = 0
        for turn in range(SETTLING_ROUNDS + rounds):
            for way in ("cold", *["cached"] * CACHED_IN_A_ROUND):
                words = question(asked)
                prompt = rendered(system, words)
                found, said = {}, {}
                for side in SIDES if asked % 2 else SIDES[::-1]:
                    ours = side == "rkllmd"
                    pids = (daemon.pid, *daemon.worker_pids) if ours else (server_pid,)
                    began = cpu_seconds(*pids)
                    if ours:
                        times, said[side] = ask_daemon(lines, words, way)
                    else:
                        times, said[side] = ask_server(server, prompt, way)
                    found[side] = (*times, 1000 * (cpu_seconds(*pids) - began))
                asked += 1
                same += said["rkllmd"] == said["llama.cpp"]
                for side in SIDES if turn >= SETTLING_ROUNDS else ():
                    samples[way][side].append(found[side])
    return _report(samples, same, asked)


def rendered(system: str, asked: str) -> str:
    """The prompt that the daemon makes of these words."""
    template = ChatTemplate(choose(None, TEMPLATE), "", "")
    return template.render([Message("system", system), Message("user", asked)], (), False).text


def ask_daemon(lines: Lines, asked: str, way: str) -> tuple[tuple[float, float], str]:
    """One question over the socket."""
    reply = lines.ask(
        "chat", text=asked, temperature=0, max_tokens=ANSWER_TOKENS, stream="tokens",
        repeat_penalty=1.0, use_cache=way == "cached",
    )  # fmt: skip
    tokens = reply.final["usage"]["completion_tokens"]
    return sampled(reply.first_s, reply.total_s, tokens), reply.final["text"]


def ask_server(
    server: http.client.HTTPConnection, prompt: str, way: str
) -> tuple[tuple[float, float], str]:
    """The same text over HTTP."""
    body = {
        "prompt": prompt, "n_predict": ANSWER_TOKENS, "temperature": 0, "stream": True,
        "cache_prompt": way == "cached", "repeat_penalty": 1.0,
    }  # fmt: skip
    server.close()
    server.connect()  # it closes what was idle for a while
    began = time.perf_counter()
    server.request("POST", "/completion", json.dumps(body), {"content-type": "application/json"})
    answer = server.getresponse()
    first, text, count = None, "", 0
    while line := answer.readline():
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        if event["content"] and first is None:
            first = time.perf_counter() - began
        text += event["content"]
        count = event.get("tokens_predicted", count)
    total = time.perf_counter() - began
    return sampled(total if first is None else first, total, count), text


def sampled(first_s: float, total_s: float, tokens: int) -> tuple[float, float]:
    """The first two figures of an answer."""
    return 1000 * first_s, (tokens - 1) / (total_s - first_s)


@contextmanager
def own_server(model: Path) -> Iterator[tuple[http.client.HTTPConnection, int]]:
    """A connection to llama.cpp's server, and its process."""
    command = [sys.executable, "-m", "tools.benches.llama", str(model)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
    ) as process:
        assert process.stdin
        assert process.stdout
        address = process.stdout.readline().decode().strip().removeprefix("http://")
        connection = http.client.HTTPConnection(address)
        try:
            yield connection, process.pid
        finally:
            connection.close()
            process.stdin.close()  # upon which it leaves


def serve(model: str) -> None:
    """Be that server until standard input ends."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_parallel = 1
    params.n_ctx = SIZES.context
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = THREADS
    params.fit_params = False
    params.verbosity = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


def _report(samples: dict[str, dict[str, list[Sample]]], same: int, asked: int) -> Report:
    tables = []
    for place, (title, unit) in enumerate(FIGURES):
        rows = []
        for way in WAYS:
            for side in SIDES:
                values = [sample[place] for sample in samples[way][side]]
                rows.append((f"{way}: {side}", *map(number, spread(values))))
            shares = [
                100 * (ours[place] / theirs[place] - 1)
                for ours, theirs in zip(*(samples[way][side] for side in SIDES), strict=True)
            ]
            low, middle, high = min(shares), statistics.median(shares), max(shares)
            rows.append((f"{way}: rkllmd's is more by, %", *map(_signed, (low, middle, high))))
        counts = " and ".join(f"{len(samples[way]['rkllmd'])} {way}" for way in WAYS)
        words = f"{title}, in {unit} ({counts} questions each"
        words += f"; {same} of {asked} answers were the same)" if not place else ")"
        tables.append(Table(words, ("", "min", "median", "max"), rows))
    told: dict[str, Any] = {"samples": samples}
    return Report("llama", tables, told)


def _signed(value: float) -> str:
    return f"{value:+.1f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="llama.cpp's server, for the measurement.")
    parser.add_argument("model")
    serve(parser.parse_args().model)
