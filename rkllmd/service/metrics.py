"""What the daemon counts and measures, for Prometheus.

Counters are fed where things happen: `observing` wraps the one handler of all transports, and the
composition root hands on what it hears of models and caches. Gauges are read from the parts when
somebody scrapes. Labels are names of models, operations and codes only; nothing that a client can
choose freely becomes one.
"""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from rkllmd.board.parse import Board
from rkllmd.board.reading import read_board
from rkllmd.errors import RkllmdError
from rkllmd.ids import ModelName
from rkllmd.operations.call import Call, Handler, Reply
from rkllmd.operations.services import Services
from rkllmd.protocol.messages import Done, Request
from rkllmd.scheduling.stop import StopReason
from rkllmd.worker.ends import WorkerEnd
from rkllmd.worker.supervisor import State

FIRST = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 60)
LAST = (0.1, 0.2, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 120, 300, 600)
WAIT = (0.001, 0.01, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300)
CANCEL = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 15)

COUNTERS: Mapping[str, tuple[str, str]] = {
    "rkllmd_requests": ("transport op outcome", "Requests by operation and how they ended"),
    "rkllmd_http_requests": ("endpoint status", "HTTP requests by endpoint and status"),
    "rkllmd_tokens": ("model kind", "Tokens that were prefilled, found in a cache, or generated"),
    "rkllmd_model_loads": ("model", "Times that a model was loaded"),
    "rkllmd_worker_crashes": ("model kind", "Workers that died, by how"),
    "rkllmd_worker_restarts": ("model", "Workers that were replaced and are ready again"),
    "rkllmd_cache_changes": ("model change", "What became of prompt caches: built, verified, …"),
}
"""By name: the labels, and what is counted."""

SECONDS: Mapping[str, tuple[str, Sequence[float], str]] = {
    "rkllmd_first_token_seconds": ("model cache", FIRST, "From arrival to the first token"),
    "rkllmd_first_sentence_seconds": ("model cache", FIRST, "From arrival to the first sentence"),
    "rkllmd_last_token_seconds": ("model", LAST, "From arrival to the last token"),
    "rkllmd_load_seconds": ("model", WAIT, "How long requests waited for a model or a state"),
    "rkllmd_prefill_seconds": ("model cache", FIRST, "Computing a prompt, by the engine's clock"),
    "rkllmd_queue_wait_seconds": ("model", WAIT, "How long requests waited for their turn"),
    "rkllmd_cancel_seconds": ("", CANCEL, "From a cancel to the end of its request"),
    "rkllmd_worker_freed_seconds": ("model reason", CANCEL, "From a stop to a free worker"),
}
"""By name: the labels, the buckets, and what is timed."""


class Metrics:
    """All of one daemon."""

    def __init__(self, services: Services) -> None:
        self._registry = registry = CollectorRegistry()
        self._services = services
        self._ends: dict[ModelName, WorkerEnd] = {}
        self._ready: set[ModelName] = set()
        self._counters = {
            name: Counter(name, text, labels.split(), registry=registry)
            for name, (labels, text) in COUNTERS.items()
        }
        self._histograms = {
            name: Histogram(name, text, labels.split(), buckets=buckets, registry=registry)
            for name, (labels, buckets, text) in SECONDS.items()
        }
        self._now = _Now(services)
        registry.register(self._now)

    async def text(self) -> str:
        """Everything, as Prometheus reads it."""
        self._now.board = await asyncio.to_thread(read_board)
        return generate_latest(self._registry).decode()

    def observing(self, handler: Handler) -> Handler:
        """The same handler, and what it does is counted."""

        async def handle(request: Request, call: Call) -> Reply:
            outcome = "internal"
            try:
                reply = await handler(request, call)
                outcome = str(reply.reason) if isinstance(reply, Done) else "ok"
                if isinstance(reply, Done):
                    self._note_answer(reply)
            except RkllmdError as error:
                outcome = str(error.code)
                raise
            finally:
                self._count("rkllmd_requests", call.caller.transport, request.op, outcome)
                if call.stop.reason is StopReason.CANCELLED:
                    self._time("rkllmd_cancel_seconds", time.monotonic() - call.stop.at)
            return reply

        return handle

    def note_http(self, endpoint: str, status: int) -> None:
        """An HTTP request was answered."""
        self._count("rkllmd_http_requests", endpoint, str(status))

    def note_freed(self, model: ModelName, reason: StopReason, seconds: float) -> None:
        """A run that was stopped has left its worker to the next one."""
        self._time("rkllmd_worker_freed_seconds", seconds, model, str(reason))

    def note_cache(self, model: str, change: str) -> None:
        """A cache was built, verified, evicted, …; what is built is verified, too."""
        for one in ("built", "verified") if change == "built" else (change,):
            self._count("rkllmd_cache_changes", model, one)

    def note_model(self, model: ModelName) -> None:
        """A model's state may have changed."""
        lane = self._services.scheduler.lanes.get(model)
        if lane is None:
            self._ends.pop(model, None)
            self._ready.discard(model)
            return
        supervisor = lane.supervisor
        end = supervisor.ended
        if end is not None and self._ends.get(model) is not end:
            self._ends[model] = end
            self._count("rkllmd_worker_crashes", model, str(end.kind))
            self._ready.discard(model)
        if supervisor.state is State.READY and model not in self._ready:
            self._ready.add(model)
            self._count("rkllmd_model_loads", model)
            if end is not None:
                self._count("rkllmd_worker_restarts", model)

    def _count(self, name: str, *labels: str, by: float = 1) -> None:
        self._counters[name].labels(*labels).inc(by)

    def _time(self, name: str, seconds: float, *labels: str) -> None:
        histogram = self._histograms[name]
        (histogram.labels(*labels) if labels else histogram).observe(seconds)

    def _note_answer(self, done: Done) -> None:
        if done.model not in self._services.registry.models:
            return  # it was cancelled before a model was found
        usage, timing = done.usage, done.timing
        counts = {
            "prefilled": usage.prompt_tokens - usage.cached_tokens,
            "cached": usage.cached_tokens,
            "generated": usage.completion_tokens,
        }
        for kind, count in counts.items():
            self._count("rkllmd_tokens", done.model, kind, by=max(count, 0))
        self._time("rkllmd_queue_wait_seconds", timing.queue_ms / 1000, done.model)
        self._time("rkllmd_load_seconds", timing.load_ms / 1000, done.model)
        cache = "hit" if usage.cache_hit else "miss"
        if timing.ttft_ms is not None:
            self._time("rkllmd_prefill_seconds", timing.prefill_ms / 1000, done.model, cache)
            self._time("rkllmd_first_token_seconds", timing.ttft_ms / 1000, done.model, cache)
        if timing.first_sentence_ms is not None:
            self._time(
                "rkllmd_first_sentence_seconds", timing.first_sentence_ms / 1000, done.model, cache
            )
        if timing.last_token_ms is not None:
            self._time("rkllmd_last_token_seconds", timing.last_token_ms / 1000, done.model)


class _Now(Collector):
    """What is so at the moment of a scrape."""

    def __init__(self, services: Services) -> None:
        self.board: Board | None = None
        self._services = services

    def collect(self) -> Iterator[Metric]:
        """The gauges."""
        services = self._services
        yield _gauge("rkllmd_ready", "1 once the daemon is ready", services.state == "ready")
        yield _gauge("rkllmd_uptime_seconds", "Since the start", services.now() - services.started)
        waiting = GaugeMetricFamily("rkllmd_queue_length", "Who waits", labels=["model"])
        running = GaugeMetricFamily("rkllmd_running", "Who runs, 0 or 1", labels=["model"])
        memory = GaugeMetricFamily(
            "rkllmd_model_memory_bytes", "What a loaded model's worker holds", labels=["model"]
        )
        for name, lane in services.scheduler.lanes.items():
            waiting.add_metric([name], len(lane.turns))
            running.add_metric([name], lane.turns.running is not None)
            if lane.model is not None:
                memory.add_metric([name], lane.model.facts.memory_bytes)
        yield from (waiting, running, memory)
        yield from self._of_caches()
        yield from of_board(self.board)

    def _of_caches(self) -> Iterator[Metric]:
        view = self._services.caches.view
        yield _gauge("rkllmd_cache_bytes", "What the cache folder holds", view.bytes_used)
        yield _gauge("rkllmd_cache_free_bytes", "Free on its disk", view.free_bytes)
        entries = GaugeMetricFamily(
            "rkllmd_cache_entries", "Prompt caches by state", labels=["model", "state"]
        )
        counts: dict[tuple[str, str], int] = {}
        for one in self._services.caches.listing():
            key = (str(one["model"]), str(one["state"]))
            counts[key] = counts.get(key, 0) + 1
        for (model, state), count in counts.items():
            entries.add_metric([model, state], count)
        yield entries


def of_board(board: Board | None) -> Iterator[Metric]:
    """What the board's kernel says, where it says something."""
    load = GaugeMetricFamily("rkllmd_npu_load_percent", "Of each NPU core", labels=["core"])
    warmth = GaugeMetricFamily(
        "rkllmd_temperature_celsius", "What the board's sensors say", labels=["sensor"]
    )
    if board is not None:
        for core, percent in enumerate(board.npu_load):
            load.add_metric([str(core)], percent)
        for sensor in board.temperatures:
            warmth.add_metric([sensor.name], sensor.celsius)
    yield from (load, warmth)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)
