"""Keeps one model's worker alive.

    stopped ── start ──> starting ── hello ──> loading ── facts ──> ready
                            ^                                         │
                            └────────── pause <── the worker died ────┤ (in any of the three)
                                                                      v
    failed <── the budget is spent, or the engine refused the model ──┘

One task lives through all of a model's workers and owns them. A call goes to the worker that is
ready now and fails with that worker; to send it again is its caller's business. A worker that had
to be killed because a cancel was overdue is replaced at once and costs nothing of the budget.
"""

import asyncio
import logging
import socket
from array import array
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from rkllmd.config import settings
from rkllmd.errors import Code, InternalError, RkllmdError, StateError, WorkerLost
from rkllmd.ids import ModelName
from rkllmd.runs import (
    Embedding,
    Limits,
    LoadSpec,
    Logits,
    ModelFacts,
    Pooling,
    Prompt,
    RunStats,
    Sampling,
    StateInfo,
)
from rkllmd.worker.channel import Call, Channel, PrefillProgress, Run
from rkllmd.worker.ends import EndKind, WorkerEnd
from rkllmd.worker.frames import Frame, MediaSize, MediaSizes
from rkllmd.worker.process import Process, worker_command
from rkllmd.worker.restarts import GiveUp, Restarts

journal = logging.getLogger("rkllmd.worker")


class State(StrEnum):
    """Where a model's worker is in its life."""

    STOPPED = "stopped"
    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


HEAR_SECONDS = 1.0
"""How long to wait for the last words of a worker that is gone."""
SETTLED = frozenset({State.STOPPED, State.READY, State.FAILED})


class Supervisor:
    """One model's worker, whichever process it is at the moment."""

    def __init__(
        self,
        model: ModelName,
        engine: str,
        spec: LoadSpec,
        limits: settings.Engine,
        cancel_s: float,
        *,
        on_state: Callable[[], None] = lambda: None,
        on_end: Callable[[WorkerEnd], None] = lambda _: None,
        on_load: Callable[[PrefillProgress], None] = lambda _: None,
    ) -> None:
        """`on_state` follows each change of `state`, `on_end` each death that nobody asked for."""
        self.model = model
        self.state = State.STOPPED
        self.reason = ""
        """Why it is in this state, for a person; empty when that is plain."""
        self.facts: ModelFacts | None = None
        """What was known of the model when it was last loaded."""
        self.ended: WorkerEnd | None = None
        """How the last worker that died did so."""
        self.prefilled_tokens = 0
        """All that the engine counted, whoever asked for it."""
        self._engine = engine
        self._spec = spec
        self._limits = limits
        self._cancel_s = cancel_s
        self._on_state = on_state
        self._on_end = on_end
        self._on_load = on_load
        self._settled = asyncio.Event()
        self._error: RkllmdError | None = None
        self._task: asyncio.Task[None] | None = None
        self._process: Process | None = None
        self._channel: Channel | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def pid(self) -> int | None:
        """The worker's process id while there is one."""
        return self._process.pid if self._process else None

    @property
    def held(self) -> Prompt | None:
        """What the engine's state covers as of the last call that ended."""
        return self._channel.held if self._channel else None

    async def start(self) -> None:
        """Load the model and wait until it is ready; a failed one begins with a fresh budget.

        A worker that dies meanwhile is replaced. Raises the reason when the model has failed.
        """
        if self._task is None or self._task.done():
            self._enter(State.STARTING)
            self._task = asyncio.create_task(self._live(), name=f"worker of {self.model}")
        await self._settled.wait()
        if self.state is not State.READY:
            raise self._error or self._not_ready()

    async def stop(self) -> None:
        """End the worker; open calls fail with `not_ready`."""
        task, self._task = self._task, None
        if task:
            task.cancel()
            await asyncio.wait({task})
            self._enter(State.STOPPED)

    def run(self, prompt: Prompt, sampling: Sampling, limits: Limits) -> Run:
        """Answer a prompt: iterate over pieces and progress, await the stats."""
        sizes = tuple(MediaSize(one.kind, len(one.npy)) for one in prompt.media)
        members = {"media": MediaSizes(sizes)} if sizes else {}
        return self._ready().call(
            "run",
            self._run_stats,
            b"".join([prompt.data, *(one.npy for one in prompt.media)]),
            kind=prompt.kind,
            sampling=sampling,
            limits=limits,
            **members,
        )

    def save_state(self, path: Path, prompt: Prompt) -> Call[StateInfo | None]:
        """Write the state after a prompt; None when it was cancelled."""
        return self._ready().call(
            "save_state", self._state_info, prompt.data, kind=prompt.kind, path=str(path)
        )

    def load_state(self, path: Path, prefix: Prompt | None = None) -> Call[int]:
        """Hold a file's state; the number of its tokens. `prefix` is what it is the state after."""
        call = self._ready().call("load_state", lambda frame: frame.count("tokens"), path=str(path))
        call.held = prefix
        return call

    def release_state(self) -> Call[None]:
        """Let go of a loaded file's state."""
        return self._ready().call("release_state", lambda _: None)

    def reset(self) -> Call[None]:
        """Hold nothing."""
        return self._ready().call("reset", lambda _: None)

    def tokenize(self, text: str) -> Call[Prompt]:
        """A text's tokens, also while a run goes on."""
        return self._ready().call("tokenize", _tokens, text.encode(errors="replace"))

    def embed(self, text: str, pooling: Pooling, *, normalize: bool) -> Call[Embedding]:
        """A text's vector; what the engine held is unknown afterwards."""
        payload = text.encode(errors="replace")
        return self._ready().call(
            "embed", _embedding, payload, pooling=pooling, normalize=normalize
        )

    def logits(self, prompt: Prompt) -> Call[Logits]:
        """The logits after a prompt; what the engine held is unknown afterwards."""
        return self._ready().call("logits", _logits, prompt.data, kind=prompt.kind)

    def _run_stats(self, frame: Frame) -> RunStats:
        stats = frame.record(RunStats, "stats")
        self.prefilled_tokens += stats.prefilled_tokens
        return stats

    def _state_info(self, frame: Frame) -> StateInfo | None:
        if frame.header.get("info") is None:
            return None
        info = frame.record(StateInfo, "info")
        self.prefilled_tokens += info.prefilled_tokens
        return info

    def _ready(self) -> Channel:
        if self.state is State.READY and self._channel is not None:
            return self._channel
        if self.state in {State.STARTING, State.LOADING} and self.ended is not None:
            raise self.ended.error  # the caller has not heard yet that its worker died
        raise self._not_ready()

    def _not_ready(self) -> StateError:
        why = f": {self.reason}" if self.reason else ""
        return StateError(
            Code.NOT_READY, f"model {self.model} is {self.state}{why}", state=str(self.state)
        )

    def _enter(self, state: State, reason: str = "") -> None:
        self.state, self.reason = state, reason
        if state in SETTLED:
            self._settled.set()
        else:
            self._settled.clear()
        self._on_state()

    def _fail(self, error: RkllmdError) -> None:
        self._error = error
        self._enter(State.FAILED, error.message)

    async def _live(self) -> None:
        """Go through lives until the model has failed or is stopped."""
        self._error = None
        restarts = Restarts(self._limits.restarts_max, self._limits.restarts_window_s)
        try:
            while True:
                end, was_ready = await self._one_life()
                pause_s = 0.0
                if end.kind is not EndKind.OVERDUE:
                    verdict = restarts.decide(_now(), was_ready=was_ready)
                    if isinstance(verdict, GiveUp):
                        self._fail(_given_up(verdict, end))
                        return
                    pause_s = verdict.pause_s
                await asyncio.sleep(pause_s)
        except RkllmdError as error:  # The engine refused the model.
            self._fail(error)
        except Exception as error:
            self._fail(InternalError(Code.INTERNAL, f"{type(error).__name__}: {error}"))
            raise

    async def _one_life(self) -> tuple[WorkerEnd, bool]:
        """From a worker's start to its end, and whether it was ready between."""
        was_ready = False
        async with self._worker() as (process, channel, gone):
            with suppress(WorkerLost):
                await self._load(process, channel)
                if not channel.lost:
                    was_ready = True
                    self._enter(State.READY)
            return await gone, was_ready

    async def _see_gone(self, process: Process, channel: Channel) -> WorkerEnd:
        """Wait for a worker's end, hear all that it said, then tell everybody why it ended."""
        first: set[asyncio.Future[Any]] = {process.ended, channel.closed}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        end = await process.leave()
        await asyncio.wait({channel.closed}, timeout=HEAR_SECONDS)
        if not channel.lost:
            journal.warning("%s: %s", self.model, end.error.message)
            self.ended = end
            self._enter(State.STARTING, end.error.message)
            channel.lose(end.error)
            self._on_end(end)
        return end

    async def _load(self, process: Process, channel: Channel) -> None:
        with _deadline(process, self._limits.hello_s, "it did not say hello"):
            await asyncio.shield(channel.hello)
        self._enter(State.LOADING)
        with _deadline(process, self._limits.load_s, "it did not load the model"):
            call = channel.call("load", _facts, spec=self._spec)
            async for coming in call:
                if isinstance(coming, PrefillProgress):
                    self._on_load(coming)
            self.facts = call.result

    @asynccontextmanager
    async def _worker(
        self,
    ) -> AsyncIterator[tuple[Process, Channel, "asyncio.Task[WorkerEnd]"]]:
        """A process with its channel; both are gone when this is left."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                command = worker_command(self._engine, self._spec.threads)
                process = Process(self.model, command, theirs)
            channel = Channel(self._limits.hang_s, self._cancel_s, process.kill)
            self._process, self._channel = process, channel
            gone = asyncio.create_task(
                self._see_gone(process, channel), name=f"end of {self.model}"
            )
            try:
                await asyncio.get_running_loop().create_connection(lambda: channel, sock=ours)
                yield process, channel, gone
            finally:
                channel.lose(StateError(Code.NOT_READY, f"model {self.model} was unloaded"))
                self._process = self._channel = None
                await process.leave()
                await asyncio.wait([gone])


@contextmanager
def _deadline(process: Process, seconds: float, what: str) -> Iterator[None]:
    timer = asyncio.get_running_loop().call_later(
        seconds, process.kill, EndKind.SILENCE, f"{what} within {seconds:g} s"
    )
    try:
        yield
    finally:
        timer.cancel()


def _given_up(verdict: GiveUp, end: WorkerEnd) -> WorkerLost:
    lost = end.error
    return WorkerLost(lost.code, f"{verdict.reason}; {lost.message}", **lost.details)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _facts(frame: Frame) -> ModelFacts:
    return frame.record(ModelFacts, "facts")


def _tokens(frame: Frame) -> Prompt:
    return Prompt("tokens", frame.words())


def _logits(frame: Frame) -> Logits:
    return Logits(array("f", frame.words()), frame.count("tokens"))


def _embedding(frame: Frame) -> Embedding:
    return Embedding(array("f", frame.words()), frame.count("tokens"))
