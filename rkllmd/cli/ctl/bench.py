"""bench: what a user waits for, measured through the socket on the running daemon.

    cold      first token with nothing held or stored that could help
    prefill   the speed of reading the prompt then
    live      first token while the worker still holds the state after the same prompt
    file      first token after another prompt, so that the state is loaded from its file
    speed     of writing an answer
    cancel    from the request to cancel to the answer's own end

Where the cache `system` is not used, `file` says so and is not measured. Each figure is shown as
least, median and most of all runs. Two models that are compared are measured in turns, and their
medians stand side by side with the engine and the memory of each.
"""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rkllmd.cli.ctl.command import Context
from rkllmd.cli.ctl.screen import Screen, size
from rkllmd.errors import Code, RequestError, StorageError

QUESTION = "Tell me about the kitchen."
ANSWER_TOKENS = 24
LONG_ANSWER_TOKENS = 400
MEASURED = {
    "cold": "first token, with nothing of the prompt held",
    "prefill": "reading the prompt then",
    "live": "first token, with the prompt held",
    "file": "first token, with the prompt's state from its file",
    "speed": "writing the answer",
    "cancel": "from a cancel to the answer's end",
}
UNITS = {"prefill": "tokens/s", "speed": "tokens/s"}

Values = dict[str, list[float]]
Results = dict[str, dict[str, Any]]


def bench(context: Context) -> None:
    """Measure, and show."""
    options = context.options
    if options.compare and options.plot:
        raise RequestError(Code.BAD_REQUEST, "--plot: allowed for one model, found --compare")
    models = options.compare or [options.model]
    if len({*models}) < len(models):
        raise RequestError(Code.BAD_REQUEST, "--compare: found one model twice, allowed: two")
    found: list[Values] = [{name: [] for name in MEASURED} for _ in models]
    for done in range(options.runs):
        context.screen.progress(
            {"event": "progress", "phase": "bench", "done": done, "total": options.runs}
        )
        for model, values in zip(models, found, strict=True):
            _measure(context, model, values)
    context.screen.clear()
    results = [
        {name: _summary(name, figures) for name, figures in values.items() if figures}
        for values in found
    ]
    if options.compare:
        _compare(context, models, results, found)
    elif context.screen.as_json:
        context.screen.json({"runs": options.runs, "results": results[0], "values": found[0]})
    else:
        _show(context.screen, results[0])
    if options.plot:
        _write(Path(options.plot), results[0])


def _measure(context: Context, model: str | None, found: Values) -> None:
    cold = _ask(context, model, use_cache=False)
    other = _ask(context, model, use_cache=True)
    live = _ask(context, model, use_cache=True)
    _keep(found["cold"], cold["timing"]["ttft_ms"])
    if cold["timing"]["prefill_ms"]:
        computed = cold["usage"]["prompt_tokens"] - cold["usage"]["cached_tokens"]
        _keep(found["prefill"], computed / cold["timing"]["prefill_ms"] * 1000)
    if other["usage"]["cache_hit"]:
        _keep(found["file"], other["timing"]["ttft_ms"])
    _keep(found["live"], live["timing"]["ttft_ms"])
    _keep(found["speed"], live["timing"]["tokens_per_s"])
    _keep(found["cancel"], _cancel(context, model))


def _ask(context: Context, model: str | None, *, use_cache: bool) -> dict[str, Any]:
    return context.client.call(
        "chat", model=model, text=QUESTION, use_cache=use_cache,
        max_tokens=ANSWER_TOKENS, temperature=0, stream="tokens",
    )  # fmt: skip


def _cancel(context: Context, model: str | None) -> float | None:
    """Milliseconds from the cancel to the end; None where the answer had ended before."""
    events = context.client.events(
        "chat", model=model, text=QUESTION, max_tokens=LONG_ANSWER_TOKENS, stream="tokens"
    )
    for event in events:
        if event["event"] == "delta":
            start = time.perf_counter()
            events.close()  # cancels, and waits for the end
            return (time.perf_counter() - start) * 1000
    return None


def _compare(
    context: Context, models: Sequence[str], results: Sequence[Results], found: Sequence[Values]
) -> None:
    shown = [context.client.call("model.show", model=model)["models"][0] for model in models]
    if context.screen.as_json:
        told = [
            {"model": one["name"], "engine": one["engine"], "memory": one["memory"],
             "results": figures, "values": values}
            for one, figures, values in zip(shown, results, found, strict=True)
        ]  # fmt: skip
        context.screen.json({"runs": context.options.runs, "compared": told})
        return
    rows: list[tuple[str, ...]] = [
        ("engine", *(one["engine"] for one in shown), "", ""),
        (
            "memory",
            *(size(one["memory"]) for one in shown),
            "",
            "of its worker",
        ),
    ]
    for name, meaning in MEASURED.items():
        medians = [str(one[name]["median"]) if name in one else "" for one in results]
        rows.append((name, *medians, UNITS.get(name, "ms"), meaning))
    context.screen.table(("median of", *models, "unit", "meaning"), rows)


def _keep(values: list[float], value: float | None) -> None:
    if value is not None:
        values.append(value)


def _summary(name: str, values: Sequence[float]) -> dict[str, Any]:
    return {
        "min": round(min(values), 2), "median": round(statistics.median(values), 2),
        "max": round(max(values), 2), "unit": UNITS.get(name, "ms"),
    }  # fmt: skip


def _show(screen: Screen, results: Results) -> None:
    screen.table(
        ("measured", "least", "median", "most", "unit", "meaning"),
        [
            (name, r["min"], r["median"], r["max"], r["unit"], MEASURED[name])
            for name, r in results.items()
        ],
    )


def _write(path: Path, results: Results) -> None:
    try:
        path.write_text(plot(results), encoding="utf-8")
    except OSError as error:
        raise StorageError(Code.STORAGE_FULL, f"cannot write {path}: {error}") from error


def plot(results: Results) -> str:
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
