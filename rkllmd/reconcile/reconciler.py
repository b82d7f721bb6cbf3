"""Brings the stored caches to what they should be: looks, plans, does the steps, looks again.

One pass at a time (`_lock`), whoever wants it: the loop in `run` after a trigger or when time has
passed, or an operation that waits for its result. A pass does not remember anything that the store
does not say, so one that was cut off anywhere is simply followed by another.

Steps that need a worker ask for a background turn. When something more urgent takes it away
(`GaveWay`) the staged state is discarded and the step is planned again.

When nothing is left to do, a worker that holds nothing is given the state of its `system` prompt,
so the first request of a new worker finds it there, and a file that no engine takes is found out
before somebody waits for it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rkllmd.config import settings
from rkllmd.errors import (
    Code,
    EngineError,
    NotFound,
    RequestError,
    RkllmdError,
    StateError,
    StorageError,
    WorkerLost,
)
from rkllmd.ids import CacheName, ModelName
from rkllmd.promptcache.entry import Entry, Failure, Key
from rkllmd.promptcache.eviction import Budget
from rkllmd.promptcache.room import make_room
from rkllmd.promptcache.store import Store
from rkllmd.reconcile import building, plan
from rkllmd.reconcile.building import GaveWay
from rkllmd.reconcile.caches import Caches, View, look
from rkllmd.reconcile.targets import Target, bare_entry, new_entry, target_of, targets, verification
from rkllmd.registry.loaded import LoadedModel
from rkllmd.registry.models import Registry
from rkllmd.runs import Prompt

journal = logging.getLogger("rkllmd.caches")

ROUNDS_MAX = 8
"""A plan whose steps were all done plans nothing more; this is for mistakes of ours."""


class Workers(Protocol):
    """What the reconciler needs of the rooms above: loaded models, and turns on their workers."""

    def loaded(self) -> Mapping[ModelName, LoadedModel]:
        """The models that are loaded now."""

    def holds_nothing(self, model: ModelName) -> bool:
        """Whether a model's worker is known to hold nothing, as a new one does."""

    def engine(
        self, model: ModelName, on_progress: Callable[[int, int], None], gave_way: int
    ) -> AbstractAsyncContextManager["Workplace"]:
        """A background turn, the less patient the more often it gave way before."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """A worker for the length of a turn."""

    engine: building.Engine
    model: LoadedModel
    prompt: Callable[[str], Awaitable[Prompt]]


@dataclass(slots=True)
class Doing:
    """What is being done, for who waits."""

    step: plan.Step
    done: int = 0
    total: int = 0


@dataclass(slots=True)
class Report:
    """What a pass has done."""

    built: list[Key] = field(default_factory=list)
    verified: list[Key] = field(default_factory=list)
    failed: dict[Key, RkllmdError] = field(default_factory=dict)
    gave_way: bool = False
    again_at: float | None = None
    notes: tuple[plan.Note, ...] = ()


class Reconciler:
    """Does what `plan` says."""

    def __init__(
        self, store: Store, caches: Caches, workers: Workers, config: settings.Cache,
        tell: Callable[[Key, str, str], None],
    ) -> None:  # fmt: skip
        self.registry = Registry({}, ())
        self.complete = True
        """Whether the last look at the models and prompts could read all of them."""
        self.default: ModelName | None = None
        self.doing: Doing | None = None
        self.notes: tuple[plan.Note, ...] = ()
        self._store = store
        self._caches = caches
        self._workers = workers
        self.config = config
        self._tell = tell
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._gave_way = 0

    def progress(self) -> tuple[int, int]:
        """How far the step that is being done is."""
        return (self.doing.done, self.doing.total) if self.doing is not None else (0, 0)

    def said(self) -> str:
        """What is being done, in words; empty when nothing is."""
        if self.doing is None:
            return ""
        doing = self.doing
        share = f" ({100 * doing.done // doing.total} %)" if doing.total else ""
        return f"{_DOING[type(doing.step)]} {'/'.join(_key(doing.step))}{share}"

    def trigger(self) -> None:
        """Something may have changed."""
        self._wake.set()

    async def run(self) -> None:
        """Pass after pass, until cancelled."""
        while True:
            report = await self.reconcile()
            if report.gave_way:
                continue
            pause = self.config.reconcile_s
            if report.again_at is not None:
                pause = min(pause, max(report.again_at - time.time(), 1.0))
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def reconcile(self, force: plan.Step | None = None) -> Report:
        """One pass; `force` is done first, whatever the plan says."""
        async with self._lock:
            report = Report()
            if not self._caches.in_order:
                return report
            await self._look()
            await self._keep_to_the_budget()
            steps = [force] if force is not None else []
            for _ in range(ROUNDS_MAX):
                planned = self._plan()
                report.again_at, report.notes = planned.again_at, planned.notes
                self.notes = planned.notes
                steps += [one for one in planned.steps if _key(one) not in report.failed]
                if not steps:
                    if await self._hold_systems():
                        break
                    await self._look()
                    continue
                if not await self._do_all(steps, report):
                    break
                steps = []
            await asyncio.to_thread(self._save_notes)
            return report

    async def _hold_systems(self) -> bool:
        """Let workers that hold nothing hold their `system` state; False when one was no good."""
        all_good = True
        for name, model in list(self._caches.models.items()):
            stored = self._caches.named(model, plan.SYSTEM)
            # What may have killed a worker is not loaded before somebody asks for it.
            if stored is None or (name, plan.SYSTEM) in self._caches.deaths:
                continue
            try:
                if self._workers.holds_nothing(name):
                    async with self._workers.engine(name, self._progress, 0) as place:
                        await place.engine.load_state(Path(stored.path), stored.prefix)
            except (GaveWay, NotFound, StateError):
                continue  # it is wanted for something else, or gone
            except EngineError as error:
                self._caches.found_broken(name, plan.SYSTEM, error.message)
                all_good = False
            except WorkerLost:
                self._caches.killed_worker(name, plan.SYSTEM)
        return all_good

    async def _keep_to_the_budget(self) -> None:
        """Let go of what a smaller budget or a fuller disk has no room for any more."""
        cache = self.config
        budget = Budget(cache.bytes_max, cache.free_bytes_min, cache.learned_max)
        with suppress(StorageError):
            if gone := await asyncio.to_thread(make_room, self._store, budget):
                for key in gone:
                    self._tell(key, "evicted", "to make room")
                await self._look()

    def _save_notes(self) -> None:
        with suppress(StorageError):  # nothing is wrong without them
            self._store.save_notes()

    async def in_turn(self, change: Callable[[Store], object]) -> None:
        """Change the store while no pass goes on, and look again."""
        async with self._lock:
            await asyncio.to_thread(self._store.follow)
            await asyncio.to_thread(change, self._store)
            await self._look()

    async def _do_all(self, steps: list[plan.Step], report: Report) -> bool:
        """Do steps; False when the worker was taken away."""
        for step in steps:
            self.doing = Doing(step)
            try:
                await self._do(step, report)
                self._gave_way = 0
            except GaveWay:
                self._gave_way += 1
                report.gave_way = True
                return False
            except RkllmdError as error:
                report.failed[_key(step)] = error
                journal.warning("%s of %s/%s failed: %s", _verb(step), *_key(step), error.message)
                self._tell(_key(step), "failed", error.message)
            finally:
                self.doing = None
                await self._look()
        return True

    async def _do(self, step: plan.Step, report: Report) -> None:
        store, did = self._store, _verb(step)
        match step:
            case plan.Rename(old, new):
                await asyncio.to_thread(store.rename_model, old, new)
            case plan.Delete(model, name, _):
                await asyncio.to_thread(store.withdraw, model, name, time.time())
            case plan.Quarantine(model, name, reason):
                await asyncio.to_thread(store.quarantine, model, name, reason)
            case plan.MarkStale(model, name, reason):
                await asyncio.to_thread(store.mark, model, name, "stale", reason)
            case plan.Verify():
                did = did if await self._verify(_key(step), report) else "broken"
            case plan.Build():
                await self._build(_key(step), report)
        journal.info("%s %s/%s: %s", did, *_key(step), getattr(step, "reason", ""))
        self._tell(_key(step), did, getattr(step, "reason", ""))

    async def _build(self, key: Key, report: Report) -> None:
        target = target_of(self._caches, key)
        async with self._workers.engine(key[0], self._progress, self._gave_way) as place:
            if place.model is not target.model:
                raise GaveWay  # it was swapped meanwhile; another plan is due
            try:
                await self._build_at(place, target)
            except StateError:
                raise  # the model was unloaded; that says nothing about the prompt
            except RkllmdError as error:
                await self._note_failure(target, error)
                raise
        self._caches.findings.note_saving(target.ingredients, "")
        self._caches.lessons.pop(key, None)
        self._forget_trouble(key)
        report.built.append(key)

    async def _build_at(self, place: Workplace, target: Target) -> None:
        prefix = target.prefix
        prompt = await place.prompt(prefix) if isinstance(prefix, str) else prefix
        await self._make_room(target, prompt)
        staging = await asyncio.to_thread(self._store.stage, *target.key)
        try:
            built = await building.build(
                place.engine, prompt, staging.path, greedy=_can_be_greedy(place.model)
            )
            if built.proof.nothing_reused:
                raise RequestError(Code.UNSUPPORTED, built.proof.problem)
            if built.proof.problem:
                raise EngineError(Code.ENGINE_ERROR, built.proof.problem)
            entry = new_entry(target, prompt, built)
            await asyncio.to_thread(self._store.commit, staging, entry, target.text)
        finally:
            # After a commit there is nothing left to discard.
            await asyncio.shield(asyncio.to_thread(self._store.discard, staging))

    async def _verify(self, key: Key, report: Report) -> bool:
        """Prove a state that is there; False when it is no good."""
        entry, path = self._caches.view.entries.get(key), self._caches.view.paths.get(key)
        if not isinstance(entry, Entry) or entry.snapshot is None or path is None:
            raise NotFound(Code.UNKNOWN_CACHE, f"there is no state of {key[0]}/{key[1]} to verify")
        snapshot = entry.snapshot
        async with self._workers.engine(key[0], self._progress, self._gave_way) as place:
            try:
                proof = await building.verify(
                    place.engine,
                    snapshot.prefix.prompt,
                    path,
                    snapshot.tokens,
                    greedy=_can_be_greedy(place.model),
                )
                problem = proof.problem
            except EngineError as error:
                proof, problem = None, error.message
            except WorkerLost:
                self._caches.killed_worker(*key)
                raise
            members: dict[str, Any] = {
                "state": "broken" if problem else "verified",
                "reason": problem,
            }
            if proof is not None:
                members["verification"] = verification(proof, place.model)
            await asyncio.to_thread(lambda: self._store.change(*key, **members))
        if problem:
            journal.warning("the cache %s/%s is broken: %s", *key, problem)
        else:
            self._forget_trouble(key)
            report.verified.append(key)
        return not problem

    def _forget_trouble(self, key: Key) -> None:
        self._caches.suspects.pop(key, None)
        self._caches.deaths.pop(key, None)
        self._caches.failures.pop(key, None)

    async def _note_failure(self, target: Target, error: RkllmdError) -> None:
        """Remember in the entry why it could not be built, as far as the disk lets us."""
        if error.code is Code.UNSUPPORTED:
            self._caches.findings.note_saving(target.ingredients, error.message)
        before = self._caches.view.entries.get(target.key)
        stored = before.failure if isinstance(before, Entry) else None
        known = self._caches.failures.get(target.key, stored)
        same = known is not None and known.fingerprint == target.ingredients.digest()
        attempts = known.attempts + 1 if known is not None and same else 1
        if isinstance(error, StorageError):
            attempts = min(attempts, plan.ATTEMPTS_MAX - 1)  # a disk is mended some day
        failure = Failure(
            fingerprint=target.ingredients.digest(),
            at=time.time(),
            attempts=attempts,
            reason=error.message,
            advice=error.next_step,
        )
        self._caches.failures[target.key] = failure
        if isinstance(error, StorageError):
            return  # it says nothing about the prompt: the next start tries again
        with suppress(StorageError):
            await asyncio.to_thread(
                self._store.note_failure, bare_entry(target), failure, target.text
            )

    async def _make_room(self, target: Target, prefix: Prompt) -> None:
        """Let go of what the budget has no room for, before something is added."""
        key, cache = target.key, self.config
        is_new = target.source == "learned" and key not in self._caches.view.entries
        budget = Budget(cache.bytes_max, cache.free_bytes_min, cache.learned_max - is_new)
        needed = self._expected_bytes(target, prefix)
        for gone in await asyncio.to_thread(make_room, self._store, budget, needed, key):
            self._tell(gone, "evicted", "to make room")

    def _expected_bytes(self, target: Target, prefix: Prompt) -> int:
        """About how large a state will be, going by others of its model; at least its prefix."""
        shares = [
            snapshot.size / max(snapshot.prefix.prompt.units, 1)
            for entry in self._caches.view.entries.values()
            if isinstance(entry, Entry)
            and (snapshot := entry.snapshot) is not None
            and snapshot.ingredients.fits_model_of(target.ingredients)
        ]
        return max(round(prefix.units * max(shares, default=0.0)), len(prefix.data))

    def _plan(self) -> plan.Plan:
        wanted_now = targets(self._caches)
        models = []
        for name, entry in self.registry.models.items():
            prompts = [
                plan.WantedPrompt(target.key[1], target.source, target.ingredients)
                for target in wanted_now.values()
                if target.key[0] == name
            ]
            if name not in self._caches.models:
                prompts = [
                    plan.WantedPrompt(cache, "declared" if wanted.declared else "api", None)
                    for cache, wanted in self._caches.wanted(name).items()
                ]
            models.append(
                plan.WantedModel(
                    name,
                    entry.identity.digest,
                    entry.identity.mtime_ns,
                    tuple(prompts),
                    self._caches.cannot_save(name),
                )
            )
        desired = plan.Desired(tuple(models), self.default, self.complete)
        entries = tuple(self._caches.view.entries.values())
        actual = plan.Actual(entries, self._caches.failures, self._caches.deaths)
        return plan.plan(desired, actual, time.time())

    async def _look(self) -> None:
        """Read the store again, after telling it what happened since.

        Where it cannot be read, what was seen last goes on to count.
        """
        hits, self._caches.hits = self._caches.hits, []
        suspects = dict(self._caches.suspects)
        try:
            view = await asyncio.to_thread(self._look_in_thread, hits, suspects)
        except StorageError as error:
            journal.warning("%s", error.message)
        else:
            self._caches.take(view)

    def _look_in_thread(self, hits: list[tuple[Key, float]], suspects: dict[Key, str]) -> View:
        for key, at in hits:
            self._store.note_hit(*key, at)
        for key, reason in suspects.items():
            with suppress(NotFound, StorageError):
                self._store.mark(*key, "broken", reason)
        self._store.follow()
        return look(self._store)

    def _progress(self, done: int, total: int) -> None:
        if self.doing is not None:
            self.doing.done, self.doing.total = done, total


def _can_be_greedy(model: LoadedModel) -> bool:
    """Whether a run always says the same; some runtimes take their sampling only at load."""
    if model.facts.capabilities.run_sampling:
        return True
    return model.entry.settings.temperature == 0 or model.entry.settings.top_k == 1


def _key(step: plan.Step) -> Key:
    match step:
        case plan.Rename(_, new):
            return new, CacheName("*")
        case _:
            return step.model, step.name


def _verb(step: plan.Step) -> str:
    return _VERBS[type(step)]


_DOING = {
    plan.Rename: "renaming",
    plan.Delete: "deleting",
    plan.Quarantine: "quarantining",
    plan.MarkStale: "marking",
    plan.Verify: "verifying",
    plan.Build: "building",
}
_VERBS = {
    plan.Rename: "renamed",
    plan.Delete: "deleted",
    plan.Quarantine: "quarantined",
    plan.MarkStale: "stale",
    plan.Verify: "verified",
    plan.Build: "built",
}
