"""bench: what a user waits for, measured through the socket on the running daemon.

    cold      first token with nothing held or stored that could help
    live      first token while the worker still holds the state after the same prompt
    file      first token after another prompt, so that the state is loaded from its file
    cancel    from the request to cancel to the answer's own end

Where the cache `system` is not used, `file` says so and is not measured. Each figure is shown as
least, median and most of all runs.
"""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rkllmd.cli.ctl.command import Context
from rkllmd.cli.ctl.screen import Screen
from rkllmd.errors import Code, RequestError, StorageError

QUESTION = "Tell me about the kitchen."
ANSWER_TOKENS = 24
LONG_ANSWER_TOKENS = 400
UNITS = {"speed": "tokens/s"}


def bench(context: Context) -> None:
    """Measure, and show."""
    if context.options.runs < 1:
        raise RequestError(Code.BAD_REQUEST, "--runs: found less than 1, allowed: 1 or more")
    found: dict[str, list[float]] = {
        name: [] for name in ("cold", "live", "file", "speed", "cancel")
    }
    total = context.options.runs
    for done in range(total):
        context.screen.progress(
            {"event": "progress", "phase": "bench", "done": done, "total": total}
        )
        _measure(context, found)
    context.screen.clear()
    results = {name: _summary(name, values) for name, values in found.items() if values}
    if context.screen.as_json:
        context.screen.json({"runs": total, "results": results, "values": found})
    else:
        _show(context.screen, results)
    if context.options.plot:
        _write(Path(context.options.plot), results)


def _measure(context: Context, found: dict[str, list[float]]) -> None:
    cold = _ask(context, use_cache=False)
    other = _ask(context, use_cache=True)
    live = _ask(context, use_cache=True)
    _keep(found["cold"], cold["timing"]["ttft_ms"])
    if other["usage"]["cache_hit"]:
        _keep(found["file"], other["timing"]["ttft_ms"])
    _keep(found["live"], live["timing"]["ttft_ms"])
    _keep(found["speed"], live["timing"]["tokens_per_s"])
    _keep(found["cancel"], _cancel(context))


def _ask(context: Context, *, use_cache: bool) -> dict[str, Any]:
    return context.client.call(
        "chat", model=context.options.model, text=QUESTION, use_cache=use_cache,
        max_tokens=ANSWER_TOKENS, temperature=0, stream="tokens",
    )  # fmt: skip


def _cancel(context: Context) -> float | None:
    """Milliseconds from the cancel to the end; None where the answer had ended before."""
    events = context.client.events(
        "chat", model=context.options.model, text=QUESTION, max_tokens=LONG_ANSWER_TOKENS,
        stream="tokens",
    )  # fmt: skip
    for event in events:
        if event["event"] == "delta":
            start = time.perf_counter()
            events.close()  # cancels, and waits for the end
            return (time.perf_counter() - start) * 1000
    return None


def _keep(values: list[float], value: float | None) -> None:
    if value is not None:
        values.append(value)


def _summary(name: str, values: Sequence[float]) -> dict[str, Any]:
    return {
        "min": round(min(values), 2), "median": round(statistics.median(values), 2),
        "max": round(max(values), 2), "unit": UNITS.get(name, "ms"),
    }  # fmt: skip


def _show(screen: Screen, results: dict[str, dict[str, Any]]) -> None:
    screen.table(
        ("measured", "least", "median", "most", "unit"),
        [(name, r["min"], r["median"], r["max"], r["unit"]) for name, r in results.items()],
    )


def _write(path: Path, results: dict[str, dict[str, Any]]) -> None:
    try:
        path.write_text(plot(results), encoding="utf-8")
    except OSError as error:
        raise StorageError(Code.STORAGE_FULL, f"cannot write {path}: {error}") from error


def plot(results: dict[str, dict[str, Any]]) -> str:
    """Bars of the medians in milliseconds with lines from least to most, as SVG."""
    shown = {name: one for name, one in results.items() if one["unit"] == "ms"}
    most = max((one["max"] for one in shown.values()), default=0) or 1
    left, width, row = 90, 480, 34
    parts = []
    for number, (name, one) in enumerate(shown.items()):
        y = 40 + number * row
        bar, low, high = (width * one[key] / most for key in ("median", "min", "max"))
        parts.append(
            f'<text x="{left - 10}" y="{y + 15}" text-anchor="end">{name}</text>'
            f'<rect x="{left}" y="{y}" width="{bar:.1f}" height="20" fill="#4878a8"/>'
            f'<path d="M{left + low:.1f} {y + 10}H{left + high:.1f}" stroke="#222"/>'
            f'<text x="{left + high + 8:.1f}" y="{y + 15}">{one["median"]} ms</text>'
        )
    height = 50 + len(shown) * row
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 110}" height="{height}"'
        ' font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>'
        '<text x="10" y="22" font-size="15">rkllmd: medians, with least and most</text>'
        f"{''.join(parts)}</svg>\n"
    )
