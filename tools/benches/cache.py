"""The time to the first token without a prompt cache, and with one in each way it can help.

    cold      nothing is held or used (`use_cache:false`)
    live      the worker still holds the prefix from the request before
    file      the first request of a new worker: the state comes from its file
    switched  the worker holds another prompt of the same length: the same

For each length there are two prompts. Every round goes once through all lengths and all ways.
"""

import itertools
from pathlib import Path
from typing import Any

from tools.benches.chart import Line, draw
from tools.benches.daemon import BUNDLED, MODEL, Daemon
from tools.benches.lines import Lines
from tools.benches.report import Report, Table, median, number, spread
from tools.benches.texts import question, system_prompt

LENGTHS = (100, 500, 1000, 1500)
WAYS = {
    "cold": "cold",
    "live": "prefix still held",
    "file": "prefix from file, new worker",
    "switched": "prefix from file, other prompt held",
}
ROUNDS = 11

Samples = dict[str, dict[int, list[float]]]


def measure(model: Path = BUNDLED) -> Report:
    """First tokens for every length and way."""
    samples: Samples = {way: {length: [] for length in LENGTHS} for way in WAYS}
    computed: Samples = {way: {length: [] for length in LENGTHS} for way in WAYS}
    with Daemon(model, "cache.learn_after=0") as daemon:
        daemon.start()
        daemon.wait_ready()
        with daemon.connect() as lines:
            texts = _make_caches(lines)
            for turn in range(ROUNDS):
                for length in LENGTHS:
                    found = _ask_in_all_ways(lines, length, texts[length], turn)
                    for way, (first_s, tokens) in found.items():
                        samples[way][length].append(1000 * first_s)
                        computed[way][length].append(tokens)
    return _report(samples, computed)


def _make_caches(lines: Lines) -> dict[int, str]:
    """Two caches for each length; the text of the first one."""

    def count_tokens(text: str) -> int:
        return len(lines.ask("tokenize", text=text).final["tokens"])

    texts = {}
    for length in LENGTHS:
        for name in (f"other-{length}", f"one-{length}"):
            texts[length] = system_prompt(length, f"This is prompt {name}.", count_tokens)
            lines.ask("cache.create", model=MODEL, name=name, prompt=texts[length])
    return texts


def _ask_in_all_ways(
    lines: Lines, length: int, text: str, turn: int
) -> dict[str, tuple[float, int]]:
    """For each way the time to the first token, and how many tokens the engine computed."""
    numbers = itertools.count(turn * 5)

    def ask(**members: Any) -> tuple[float, int]:
        words = question(next(numbers))
        reply = lines.ask("chat", text=words, temperature=0, max_tokens=1, **members)
        usage = reply.final["usage"]
        return reply.first_s, usage["prompt_tokens"] - usage["cached_tokens"]

    lines.ask("model.unload", model=MODEL)
    lines.ask("model.load", model=MODEL)
    found = {"file": ask(use_cache=f"one-{length}"), "live": ask(use_cache=f"one-{length}")}
    ask(use_cache=f"other-{length}")
    found["switched"] = ask(use_cache=f"one-{length}")
    found["cold"] = ask(system=text, use_cache=False)
    return found


def _report(samples: Samples, computed: Samples) -> Report:
    rows = []
    for length in LENGTHS:
        cold = median(samples["cold"][length])
        for way, words in WAYS.items():
            times, tokens = samples[way][length], computed[way][length]
            least, middle, greatest = spread(times)
            rows.append(
                (
                    f"{length:,} tokens, {words}",
                    number(least),
                    number(middle),
                    number(greatest),
                    f"{100 * middle / cold:.1f} %",
                    f"{median(tokens):,.0f}",
                )
            )
    head = ("prefix", "min", "median", "max", "of cold", "tokens computed")
    lines = [
        Line(
            words,
            LENGTHS,
            [median(samples[way][length]) for length in LENGTHS],
            [min(samples[way][length]) for length in LENGTHS],
            [max(samples[way][length]) for length in LENGTHS],
        )
        for way, words in WAYS.items()
    ]
    return Report(
        "cache",
        [Table(f"First token, in ms ({ROUNDS} rounds)", head, rows)],
        {"first_ms": samples, "computed_tokens": computed},
        draw(f"First token: median and range of {ROUNDS}", "tokens of the prefix", "ms", lines),
    )
