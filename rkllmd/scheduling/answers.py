"""One prompt's way through a lane: wait, hold the right state, run, and again if a worker dies.

A request of which nothing was sent yet is run again, once, on the worker's replacement: its client
sees a slower answer and nothing else. One that had begun ends with the worker's error.

Stopping (`Stop`) works at every point. In the queue and between steps it raises `Stopped`. In a run
the engine is told to stop and says what it had done; where the engine cannot be interrupted
(prefill on the NPU), the owner is let go at once, and the lane waits for the worker or has it
replaced.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rkllmd.errors import EngineError, WorkerLost
from rkllmd.ids import CacheName
from rkllmd.promptcache.index import Stored
from rkllmd.registry.loaded import LoadedModel
from rkllmd.runs import EndReason, Limits, Prompt, RunStats, Sampling
from rkllmd.scheduling.lane import Lane, Turn, Wish
from rkllmd.scheduling.snapshots import Live, Snapshot, is_worth_keeping, is_worth_loading
from rkllmd.scheduling.states import wants_load, was_hit
from rkllmd.scheduling.stop import Stopped, StopReason
from rkllmd.worker.channel import Call, Piece, PrefillProgress, Run

T = TypeVar("T")
ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Job:
    """What to run."""

    prompt: Prompt
    sampling: Sampling
    limits: Limits
    find_stored: Callable[[], Stored | None] = lambda: None
    """The stored prefix that the prompt begins with; asked when its turn has come."""
    session: str | None = None
    """Whose state is left in the engine."""
    cold: bool = False
    """Compute everything, whatever is held or stored."""
    first_by: float | None = None
    """The first piece is of no use later, by the loop's clock; what cannot make it is not run."""
    end_by: float | None = None
    """The run is cut off then."""


Prepare = Callable[[LoadedModel], Coroutine[Any, Any, Job]]
"""Makes the job for a model: its template and its tokens are the model's."""


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears of the run while it goes on. Waiting in one is free: the engine does not wait."""

    on_text: Callable[[str], Awaitable[None]]
    on_prefill: Callable[[int, int], Awaitable[None]]
    forget: Callable[[], bool]
    """Forget the text, since it will come anew; False when some of it was told already."""


@dataclass(slots=True)
class Answer:
    """What came of it."""

    stats: RunStats | None = None
    """None when the run was left before the engine could say."""
    reason: EndReason | StopReason = "cancelled"
    cache_hit: bool = False
    cache: CacheName | None = None
    queued_s: float = 0.0
    load_s: float = 0.0
    first_s: float | None = None
    """From the arrival to the first piece."""
    warnings: list[str] = field(default_factory=list)
    broken: dict[CacheName, str] = field(default_factory=dict)
    """Stored states that could not be loaded, and why."""
    deadly: list[CacheName] = field(default_factory=list)
    """Stored states while whose loading a worker died."""


async def answer(
    lane: Lane, wish: Wish, prepare: Prepare, listener: Listener, result: Answer
) -> Answer:
    """Run a job in a turn of its own, and once more when the worker dies before a word was said.

    `result` is filled as far as it went, also when this raises.
    """
    arrived = asyncio.get_running_loop().time()
    with lane.visited() as loaded:
        model = loaded
        job = await wish.stop.guard(prepare(model))
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with lane.turn(wish) as turn:
                    result.queued_s += turn.queued_s
                    if turn.model is not model:
                        # It was replaced while the request waited: other tokens, other template.
                        model, job = turn.model, await wish.stop.guard(prepare(turn.model))
                    await _Attempt(lane, turn, wish, job, listener, result, arrived).go()
                    return result
            except WorkerLost:
                if attempt == ATTEMPTS or not listener.forget():
                    raise
                result.first_s = None
                job = await wish.stop.guard(prepare(model))
                result.warnings.append("the worker died and the request was run again")
    raise AssertionError("the last attempt returns or raises")


@dataclass(slots=True)
class _Attempt:
    lane: Lane
    turn: Turn
    wish: Wish
    job: Job
    listener: Listener
    result: Answer
    arrived: float
    stored: Stored | None = None
    snapshot: Snapshot | None = None
    """What was loaded of the session; not every engine can say what it holds then."""

    async def go(self) -> None:
        await self._hold_the_right_state()
        if self.job.prompt.media and self._held() is None:
            await self._finish(self.turn.worker.reset())
        self.wish.stop.check()
        self._refuse_what_comes_too_late(self._missing_units() * self.lane.pace.unit_s)
        run = self.turn.worker.run(self.job.prompt, self.job.sampling, self.job.limits)
        self.turn.ends_with(run)
        unsubscribe = self.wish.stop.subscribe(lambda reason: self._stop(run, reason))
        alarm = self._set_alarm()
        try:
            async for item in run:
                await self._hear(item)
        except WorkerLost:
            # One that was to be stopped has stopped, and its owner wants no other.
            if not self.wish.stop.is_set():
                raise
        except BaseException:
            run.cancel()  # Nobody hears the rest, and the lane is free only when the run is over.
            raise
        finally:
            unsubscribe()
            if alarm is not None:
                alarm.cancel()
        self._conclude(run)

    def _missing_units(self) -> int:
        """How much of the prompt the engine has to compute, at least."""
        held = self._held()
        there = 0 if held is None else held.common_units(self.job.prompt)
        if self.stored is not None:
            there = max(there, self.stored.prefix.units)
        if self.snapshot is not None:
            there = max(there, self.snapshot.prompt.common_units(self.job.prompt))
        return self.job.prompt.units - there

    def _refuse_what_comes_too_late(self, seconds: float) -> None:
        """End what needs so many seconds to its first piece, when there are not so many left."""
        first_by = self.job.first_by
        if first_by is not None and self._now() + seconds > first_by:
            self.wish.stop.set(StopReason.DEADLINE)
        self.wish.stop.check()

    async def _hold_the_right_state(self) -> None:
        worker, job, lane = self.turn.worker, self.job, self.lane
        if (live := lane.live_state()) and is_worth_keeping(live, job.session, job.prompt):
            await lane.snapshots.keep(self.turn.model, live, worker)
            self.wish.stop.check()
        if job.cold:
            await self._finish(worker.reset())
            return
        self.stored = stored = job.find_stored()
        if await self._load_snapshot():
            return
        if stored is None or not wants_load(self._held(), job.prompt, stored):
            return
        if stored.name in self.result.deadly:
            self.result.warnings.append(f"the cache {stored.name!r} was not loaded again")
            return
        began = self._now()
        try:
            await self._finish(worker.load_state(Path(stored.path), stored.prefix))
        except EngineError as error:
            # The answer is computed as if the file had never been there.
            self.result.broken[stored.name] = error.message
            self.result.warnings.append(
                f"the cache {stored.name!r} could not be loaded: {error.message}"
            )
        except WorkerLost:
            self.result.deadly.append(stored.name)
            raise
        self.result.load_s += self._now() - began

    def _held(self) -> Prompt | None:
        """What is held, None where it is of no use.

        Before an image or a sound that is everything but a beginning of the prompt, since an engine
        may take other text for an image's tokens. What is held has no marks, so a beginning ends
        before the first of them.
        """
        held, prompt = self.turn.worker.held, self.job.prompt
        if prompt.media and held is not None and not prompt.starts_with(held):
            return None
        return held

    async def _load_snapshot(self) -> bool:
        """Hold what the session was when it gave up the worker, when that is more than there is."""
        snapshots, job = self.lane.snapshots, self.job
        snapshot = snapshots.find(self.turn.model.entry.name, job.session)
        had_units = job.prompt.units - self._missing_units()
        if snapshot is None or not is_worth_loading(snapshot, job.prompt, had_units):
            return False
        began = self._now()
        try:
            await self._finish(self.turn.worker.load_state(snapshot.path, snapshot.prompt))
        except (EngineError, WorkerLost) as error:
            await snapshots.forget(snapshot)
            if isinstance(error, WorkerLost):
                raise
            return False
        self.snapshot = snapshot
        self.result.load_s += self._now() - began
        return True

    async def _finish(self, call: Call[T]) -> None:
        """Wait for a call that cannot be stopped; its turn lasts as long, its owner may leave."""

        async def ended() -> None:
            await call

        try:
            await self.wish.stop.guard(ended())
        except Stopped:
            self.turn.ends_with(call)
            raise

    async def _hear(self, item: Piece | PrefillProgress) -> None:
        if self.wish.stop.reason not in {None, StopReason.GIVE_WAY}:
            return
        match item:
            case Piece(text):
                if self.result.first_s is None:
                    self.result.first_s = self._now() - self.arrived
                await self.listener.on_text(text)
            case PrefillProgress(done, total):
                self._refuse_what_comes_too_late((total - done) * self.lane.pace.token_s)
                await self.listener.on_prefill(done, total)

    def _stop(self, run: Run, reason: StopReason) -> None:
        silent = self.result.first_s is None
        interruptible = bool(self.turn.model.facts.capabilities.interruptible_prefill)
        run.cancel(gently=reason is StopReason.GIVE_WAY)
        if silent and not interruptible:
            run.leave()

    def _set_alarm(self) -> asyncio.TimerHandle | None:
        if self.job.end_by is None:
            return None
        loop = asyncio.get_running_loop()
        return loop.call_at(self.job.end_by, self.wish.stop.set, StopReason.DEADLINE)

    def _conclude(self, run: Run) -> None:
        result, stats = self.result, run.result if run.succeeded else None
        result.stats = stats
        if stats is not None:
            if not self.job.prompt.media:  # whose tokens are not those of its text
                self.lane.pace.learn(self.job.prompt, stats)
            stored_units = self.stored.prefix.units if self.stored is not None else 0
            held, session = run.held, self.job.session
            self.lane.live = None if held is None else Live(session, held, stored_units)
        if stats is None or stats.reason == "cancelled":
            result.reason = self.wish.stop.reason or "cancelled"
        else:
            result.reason = stats.reason
        if self.stored is not None and stats is not None and was_hit(self.stored, stats):
            result.cache_hit, result.cache = True, self.stored.name

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
