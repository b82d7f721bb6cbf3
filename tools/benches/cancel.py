"""Cancel and barge-in: how soon it is quiet, and how soon the next one is heard.

    cancel     an answer is cancelled in its middle, and another question sent with the cancel
    barge-in   a `voice` question comes while a `background` answer goes on

Each in decode (behind the third delta) and in prefill (of a long prompt that is computed anew).
"Alone" is such a question while nothing else goes on, in the same rounds. On the tiny engine, whose
prefill can be interrupted, and on the simulated NPU runtime, whose prefill cannot: there the next
one waits for the rest of it. The simulated speeds are near those published for a model of 1.7
billion parameters on an RK3588; what they say is what rkllmd adds to an engine of that kind.
"""

import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fakes.rkllm.built import NEWEST, built, make_model
from tools.benches.daemon import BUNDLED, Daemon
from tools.benches.lines import Lines
from tools.benches.report import Report, Table, number, spread
from tools.benches.texts import SYSTEM, facts, question

ROUNDS = 40
LONG_FACTS = 100
SIMULATED_ROUNDS = 10
SIMULATED_FACTS = 40
SIMULATED_SPEED = {"prefill_us": 4000, "token_us": 60_000}
SHARES = (0.5, 0.99)

Event = dict[str, Any]


@dataclass(frozen=True)
class Scene:
    """What goes on when the interruption comes, and when that is."""

    request: Event
    heard_of: str = "delta"
    times: int = 3
    after_s: float = 0.0
    """Where nothing is heard meanwhile."""


@dataclass(frozen=True)
class Seen:
    """Milliseconds after the interruption; None where nothing came."""

    last_delta: float | None
    ended: float
    next_first: float


def _decode(tokens: int) -> Event:
    return {"text": "Tell me everything about the home, please.", "max_tokens": tokens}


def _prefill(count: int) -> Event:
    return {"text": " ".join(facts(count)), "max_tokens": 8, "use_cache": False}


SCENES = {
    "in decode": Scene(_decode(256)),
    "in prefill": Scene(_prefill(LONG_FACTS), "progress", 1),
}
SIMULATED = {
    "in decode": Scene(_decode(12)),
    "in prefill": Scene(_prefill(SIMULATED_FACTS), after_s=0.3),
}


def measure(model: Path = BUNDLED) -> Report:
    """Both engines."""
    tiny, tiny_samples = _measure(model, SCENES, ROUNDS, f"{model.name} on the tiny engine")
    with tempfile.TemporaryDirectory() as folder:
        answer = " word" * 300
        npu = make_model(Path(folder) / "model.rkllm", answer=answer, **SIMULATED_SPEED)
        speeds = "4 ms for each prefilled token, 60 ms for each decoded one"
        title = f"simulated NPU runtime {NEWEST}, {speeds}"
        library = f"engine.library={built(NEWEST)}"
        simulated, samples = _measure(npu, SIMULATED, SIMULATED_ROUNDS, title, library)
    return Report("cancel", [tiny, simulated], {"tiny": tiny_samples, "simulated": samples})


def _measure(
    model: Path, scenes: dict[str, Scene], rounds: int, title: str, *settings: str
) -> tuple[Table, dict[str, Any]]:
    """All four, in turns."""
    seen: dict[str, dict[str, list[Seen]]] = {
        what: {name: [] for name in scenes} for what in ("cancel", "barge-in")
    }
    alone: list[float] = []
    numbers = itertools.count()
    with Daemon(model, "cache.learn_after=0", *settings) as daemon:
        daemon.write_prompt("system", SYSTEM)
        daemon.start()
        daemon.wait_ready()
        with daemon.connect() as lines:
            for _ in range(rounds):
                for name, scene in scenes.items():
                    for what in seen:
                        found = _interrupt(lines, scene, what, next(numbers))
                        if found is not None:
                            seen[what][name].append(found)
                        _question(lines, next(numbers))
                        alone.append(1000 * _question(lines, next(numbers)))
    return _table(
        f"In ms after the interruption was sent ({rounds} rounds; {title})", seen, alone
    ), {
        **{what: _as_lists(found) for what, found in seen.items()},
        "alone_ms": alone,
    }


def _question(lines: Lines, n: int) -> float:
    return lines.ask("chat", **_next(n)).first_s


def _next(n: int) -> Event:
    return {"text": question(n), "max_tokens": 4, "temperature": 0, "priority": "voice"}


def _interrupt(lines: Lines, scene: Scene, what: str, n: int) -> Seen | None:
    """None when the answer had ended before it could be interrupted."""
    priority = "background" if what == "barge-in" else "normal"
    heard = lines.heard()
    (first,) = lines.send(
        {"op": "chat", "temperature": 0, "stream": "tokens", "priority": priority, **scene.request}
    )
    time.sleep(scene.after_s)
    count = 0 if not scene.after_s else scene.times
    while count < scene.times:
        _, line = next(heard)
        count += line["event"] == scene.heard_of
        if line.get("final"):
            return None
    cancel: list[Event] = [{"op": "cancel", "target": first}] if what == "cancel" else []
    began = time.perf_counter()
    following = lines.send(*cancel, {"op": "chat", **_next(n)})[-1]
    return _listen(heard, began, first, following)


def _listen(heard: Iterator[tuple[float, Event]], began: float, first: int, following: int) -> Seen:
    """Hear both to their ends."""
    last_delta = ended = next_first = None
    finals = set()
    for now, line in heard:
        after = 1000 * (now - began)
        if line["id"] == first and line["event"] == "delta" and next_first is None:
            last_delta = after
        if line["id"] == following and (line["event"] == "delta" or line.get("final")):
            next_first = next_first or after
        if line["id"] == first and line.get("final"):
            ended = after
        finals |= {line["id"]} if line.get("final") else set()
        if {first, following} <= finals:
            break
    assert ended is not None
    assert next_first is not None, "both have ended"
    return Seen(last_delta, ended, next_first)


def _as_lists(scenes: dict[str, list[Seen]]) -> dict[str, list[Event]]:
    return {name: [vars(one) for one in found] for name, found in scenes.items()}


def _table(title: str, seen: dict[str, dict[str, list[Seen]]], alone: list[float]) -> Table:
    rows = [_row("the same question alone: first token", alone)]
    for what, scenes in seen.items():
        for name, found in scenes.items():
            deltas = [one.last_delta for one in found if one.last_delta is not None]
            words = f"{what} {name}: last delta of the old answer"
            if deltas:
                rows.append(_row(f"{words} (in {len(deltas)} of {len(found)})", deltas))
            else:
                rows.append((words, *("none",) * 4))
            if what == "cancel":
                rows.append(_row(f"{what} {name}: the old answer's end", [o.ended for o in found]))
            rows.append(_row(f"{what} {name}: next first token", [o.next_first for o in found]))
    return Table(title, ("", "min", "p50", "p99", "max"), rows)


def _row(words: str, values: list[float]) -> tuple[str, ...]:
    return words, *(number(value) for value in spread(values, SHARES))
