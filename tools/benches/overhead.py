"""What daemon and worker add to an engine, and what they need when they do nothing.

The same questions are asked in turns of two engines in this process and of a daemon's worker, all
three with the same state. What the daemon adds is its side less the first engine's, question by
question; the second engine's less the first one's shows how much of it is the machine's noise.

The first token is measured in wall-clock time: from the rendered prompt to the engine's first
piece, and from the request's sending to the first text that this client has. So what the client
needs to send, to wake up and to read is in it.

A token is measured in CPU time (user and system): that of a whole answer less that of the same
answer cut off behind its first token, divided by the tokens between; of daemon and worker, less
that of the engine alone for the same tokens. So neither what a request costs once nor what this
client computes is in it. What is in it besides our own code: the system calls and the waking of
others that a socket needs, and that the engine's weights and the daemon's code drive each other out
of the CPU's caches. A worker whose daemon and client run beside it on a machine of few cores also
computes a little slower than an engine alone; that cannot be told apart here, and counts as added.
"""

import contextlib
import gc
import itertools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools.benches.alone import Alone
from tools.benches.daemon import BUNDLED, Daemon, cpu_seconds, resident_mb
from tools.benches.lines import Lines
from tools.benches.report import Report, Table, number, spread
from tools.benches.texts import SYSTEM, facts, question

STARTS = 5
IDLE_CONNECTIONS = 500
IN_FLIGHT = 100
WARM_UP = 5
LONG_ANSWERS = "Tell me a story.", "What can you do?"
"""The bundled model has 22 tokens to say to each of these."""
TOKENS_MAX = 64


@dataclass(frozen=True)
class Asked:
    """One answer: the seconds to its first token, and what each process has computed for it."""

    text: str
    tokens: int
    first_s: float
    cpu_s: dict[str, float]


Side = Callable[[str, int], Asked]
"""Answers a question with at most so many tokens."""


def measure(model: Path = BUNDLED, rounds: int = 120, answers: int = 60) -> Report:
    """All of it; `rounds` answers of one token, and `answers` whole ones."""
    report = Report("overhead")
    _compare(report, model, rounds, answers)
    _resources(report, model)
    _restart(report, model)
    return report


def _compare(report: Report, model: Path, rounds: int, answers: int) -> None:
    with Daemon(model, "cache.learn_after=0") as daemon:
        daemon.write_prompt("system", SYSTEM)
        daemon.start()
        daemon.wait_ready()
        with daemon.connect() as lines:
            comparison = _Comparison(
                {"alone": _engine(model), "again": _engine(model), "both": _served(daemon, lines)}
            )
            gc.collect()
            gc.freeze()
            for turn in range(-WARM_UP, rounds):
                comparison.first_token(turn)
            for turn in range(-WARM_UP, answers):
                comparison.whole_answer(turn)
    comparison.tell(report)


def _engine(model: Path) -> Side:
    alone = Alone(model)

    def ask(words: str, max_tokens: int) -> Asked:
        answered = alone.ask(alone.render(SYSTEM, words), max_tokens)
        tokens = answered.stats.generated_tokens
        return Asked(answered.text, tokens, answered.first_s, {"both": answered.cpu_s})

    return ask


def _served(daemon: Daemon, lines: Lines) -> Side:
    (worker,) = daemon.worker_pids
    pids = {"daemon": daemon.pid, "worker": worker}

    def ask(words: str, max_tokens: int) -> Asked:
        before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        reply = lines.ask("chat", text=words, temperature=0, max_tokens=max_tokens)
        lines.ask("ping")  # what came after the last line is done then
        cpu_s = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
        cpu_s["both"] = sum(cpu_s.values())
        tokens = reply.final["usage"]["completion_tokens"]
        return Asked(reply.final["text"], tokens, reply.first_s, cpu_s)

    return ask


class _Comparison:
    """Asks all sides, in an order that changes from turn to turn; turns before 0 warm up."""

    def __init__(self, sides: dict[str, Side]) -> None:
        self._sides = sides
        self._first: dict[str, list[float]] = defaultdict(list)
        self._per_token: dict[str, list[float]] = defaultdict(list)
        self._tokens = self._agreed = self._asked = 0

    def first_token(self, turn: int) -> None:
        """How long each of them takes to begin."""
        texts = set()
        for name, ask in self._in_turn(turn):
            asked = ask(question(turn + WARM_UP), 1)
            texts.add(asked.text)
            if turn >= 0:
                self._first[name].append(1e3 * asked.first_s)
        self._count(texts)

    def whole_answer(self, turn: int) -> None:
        """What each token behind the first one costs them."""
        words = LONG_ANSWERS[turn % len(LONG_ANSWERS)]
        texts = set()
        for name, ask in self._in_turn(turn):
            ask(words, 1)  # both of the next ones find the prompt held
            cut, whole = ask(words, 1), ask(words, TOKENS_MAX)
            texts.add(whole.text)
            if turn >= 0:
                between = whole.tokens - cut.tokens
                self._tokens += between if name == "both" else 0
                for process, cpu_s in whole.cpu_s.items():
                    side = name if process == "both" else process
                    self._per_token[side].append(1e6 * (cpu_s - cut.cpu_s[process]) / between)
        self._count(texts)

    def _in_turn(self, turn: int) -> list[tuple[str, Side]]:
        sides = list(self._sides.items())
        first = turn % len(sides)
        return sides[first:] + sides[:first]

    def _count(self, texts: set[str]) -> None:
        self._asked += 1
        self._agreed += len(texts) == 1

    def tell(self, report: Report) -> None:
        """Make tables of it."""
        first, cpu = self._first, self._per_token
        added = {name: _difference(first[name], first["alone"]) for name in ("both", "again")}
        more = {name: _difference(cpu[name], cpu["alone"]) for name in ("both", "again", "worker")}
        report.tables += [
            Table(
                f"First token, in ms ({len(added['both'])} questions; all three sides gave the same"
                f" answer to {self._agreed} of {self._asked})",
                ("", "min", "p50", "p99", "max"),
                [
                    _row("the engine alone, in one process", first["alone"], (0.5, 0.99)),
                    _row("through daemon and worker", first["both"], (0.5, 0.99)),
                    _row("added by daemon and worker", added["both"], (0.5, 0.99)),
                    _row("noise: the engine alone, a second time", added["again"], (0.5, 0.99)),
                ],
            ),
            Table(
                f"CPU time for each token, in µs ({len(cpu['alone'])} answers,"
                f" {self._tokens} tokens)",
                ("", "min", "median", "max"),
                [
                    _row("the engine alone, in one process", cpu["alone"]),
                    _row("added by daemon and worker", more["both"]),
                    _row("of it the daemon", cpu["daemon"]),
                    _row("of it the worker", more["worker"]),
                    _row("noise: the engine alone, a second time", more["again"]),
                ],
            ),
        ]
        report.samples |= {
            "first_ms": first,
            "cpu_us_per_token": cpu,
            "tokens": self._tokens,
            "agreed": self._agreed,
            "asked": self._asked,
        }


def _difference(these: list[float], those: list[float]) -> list[float]:
    return [this - that for this, that in zip(these, those, strict=True)]


def _row(words: str, values: list[float], shares: tuple[float, ...] = (0.5,)) -> tuple[str, ...]:
    return words, *(number(value) for value in spread(values, shares))


def _resources(report: Report, model: Path) -> None:
    starts, empty, more = [], [], []
    for _ in range(STARTS):
        with Daemon(None) as daemon:
            starts.append(1000 * daemon.start())
            daemon.wait_ready()
            before = resident_mb(daemon.pid)
            empty.append(before)
            with contextlib.ExitStack() as stack:
                for _ in range(IDLE_CONNECTIONS):
                    stack.enter_context(daemon.connect()).ask("ping")
                more.append(resident_mb(daemon.pid) - before)
    with Daemon(model) as daemon:
        daemon.start()
        daemon.wait_ready()
        ended = _in_flight(daemon)
    report.tables.append(
        Table(
            f"The daemon without a model ({STARTS} starts; besides, {IN_FLIGHT} requests at once on"
            f" one connection to one with a model: {ended} ended well)",
            ("", "min", "median", "max"),
            [
                _row("start to listening, ms", starts),
                _row("resident memory, MB", empty),
                _row(f"{IDLE_CONNECTIONS} idle connections: more memory, MB", more),
            ],
        )
    )
    report.samples |= {
        "listening_ms": starts,
        "resident_mb": empty,
        "idle_connections_mb": more,
        "in_flight_ended_well": ended,
    }


def _in_flight(daemon: Daemon) -> int:
    """How many of many requests on one connection ended well."""
    with daemon.connect() as lines:
        chat = {"op": "chat", "max_tokens": 4, "temperature": 0}
        lines.send(*({**chat, "text": question(n)} for n in range(IN_FLIGHT)))
        finals = (line for _, line in lines.heard() if line.get("final"))
        return sum(line["event"] == "done" for line in itertools.islice(finals, IN_FLIGHT))


def _restart(report: Report, model: Path) -> None:
    rows = []
    with Daemon(model) as daemon:
        daemon.write_prompt("system", " ".join([SYSTEM, *facts(40)]))
        built_before: set[str] = set()
        for name in ("first start", "restart with valid caches"):
            daemon.start()
            daemon.wait_ready()
            (worker,) = daemon.worker_pids
            worker_ms = 1000 * cpu_seconds(worker)
            (shown,) = daemon.ask("model.show")["models"]
            entries = daemon.ask("cache.list")["caches"]
            built = {entry["built_at"] for entry in entries}
            usage = daemon.ask("chat", text=question(0), max_tokens=1)["usage"]
            rows.append(
                {
                    "start": name,
                    "caches built": len(built - built_before),
                    "worker's CPU time until ready, ms": round(worker_ms),
                    "prefilled until then": shown["prefilled_tokens"],
                    "tokens of the prefix": entries[0]["tokens"],
                    "of the first prompt": usage["prompt_tokens"],
                    "computed for it": usage["prompt_tokens"] - usage["cached_tokens"],
                }
            )
            built_before = built
            daemon.stop()
    cells = [tuple(str(value) for value in row.values()) for row in rows]
    report.tables.append(Table("Restart", tuple(rows[0]), cells))
    report.samples["restart"] = rows
