"""What daemon and worker add to an engine, and what they need when they do nothing.

The same questions are asked in turns of two engines in this process and of a daemon's worker, all
three with the same state. What the daemon adds is its time less the first engine's, question by
question; the second engine's time less the first one's shows how much of it is the machine's noise.
"""

import contextlib
import gc
import itertools
from dataclasses import dataclass, field
from pathlib import Path

from tools.benches.alone import Alone
from tools.benches.daemon import BUNDLED, Daemon, cpu_seconds, resident_mb
from tools.benches.lines import Lines
from tools.benches.report import Report, Table, median, number, spread
from tools.benches.texts import SYSTEM, facts, question

STARTS = 5
IDLE_CONNECTIONS = 500
IN_FLIGHT = 100
WARM_UP = 5


@dataclass
class Times:
    """One side's measured seconds: to the first token of one-token answers, and CPU time."""

    first: list[float] = field(default_factory=list)
    short_cpu: list[float] = field(default_factory=list)
    long_cpu: list[float] = field(default_factory=list)


def measure(model: Path = BUNDLED, rounds: int = 120, answers: int = 40) -> Report:
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
        comparison = _Comparison(model, daemon)
        with daemon.connect() as comparison.lines:
            gc.collect()
            gc.freeze()
            for turn in range(WARM_UP + rounds):
                comparison.ask(turn, 1, kept=turn >= WARM_UP)
            for turn in range(answers):
                comparison.ask(WARM_UP + rounds + turn, 64, kept=True)
    comparison.tell(report)


class _Comparison:
    lines: Lines

    def __init__(self, model: Path, daemon: Daemon) -> None:
        self._engines = Alone(model), Alone(model)
        self._daemon = daemon.pid
        (self._worker,) = daemon.worker_pids
        self._sides = {name: Times() for name in ("alone", "again", "both", "daemon", "worker")}
        self._tokens: list[int] = []
        self._agreed = self._asked = 0

    def ask(self, turn: int, max_tokens: int, *, kept: bool) -> None:
        """One question to all, whose order changes from turn to turn."""
        prompt = self._engines[0].render(SYSTEM, question(turn))
        sides = [
            lambda: self._ask_engine("alone", 0, prompt, max_tokens, kept=kept),
            lambda: self._ask_engine("again", 1, prompt, max_tokens, kept=kept),
            lambda: self._ask_daemon(turn, max_tokens, kept=kept),
        ]
        first = turn % len(sides)
        texts = {side() for side in sides[first:] + sides[:first]}
        self._asked += 1
        self._agreed += len(texts) == 1

    def _ask_engine(
        self, name: str, index: int, prompt: str, max_tokens: int, *, kept: bool
    ) -> str:
        answered = self._engines[index].ask(prompt, max_tokens)
        if kept:
            self._keep(name, max_tokens, answered.first_s, answered.cpu_s)
        if kept and name == "alone" and max_tokens > 1:
            self._tokens.append(answered.stats.generated_tokens)
        return answered.text

    def _ask_daemon(self, turn: int, max_tokens: int, *, kept: bool) -> str:
        before = cpu_seconds(self._daemon), cpu_seconds(self._worker)
        reply = self.lines.ask("chat", text=question(turn), temperature=0, max_tokens=max_tokens)
        self.lines.ask("ping")  # what came after the last line is done then
        daemon, worker = (
            cpu_seconds(self._daemon) - before[0],
            cpu_seconds(self._worker) - before[1],
        )
        if kept:
            self._keep("daemon", max_tokens, reply.first_s, daemon)
            self._keep("worker", max_tokens, reply.first_s, worker)
            self._keep("both", max_tokens, reply.first_s, daemon + worker)
        return str(reply.final["text"])

    def _keep(self, name: str, max_tokens: int, first_s: float, cpu_s: float) -> None:
        side = self._sides[name]
        if max_tokens == 1:
            side.first.append(first_s)
            side.short_cpu.append(cpu_s)
        else:
            side.long_cpu.append(cpu_s)

    def _per_token(self, name: str) -> list[float]:
        """Microseconds of CPU time for each token behind the first one, answer by answer."""
        side = self._sides[name]
        short = median(side.short_cpu)
        return [
            (cpu - short) / (tokens - 1) * 1e6
            for cpu, tokens in zip(side.long_cpu, self._tokens, strict=True)
            if tokens > 1
        ]

    def tell(self, report: Report) -> None:
        """Make tables of it."""
        first = {name: [1000 * value for value in side.first] for name, side in self._sides.items()}
        cpu = {name: self._per_token(name) for name in self._sides}
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
                f" {sum(self._tokens)} tokens)",
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
