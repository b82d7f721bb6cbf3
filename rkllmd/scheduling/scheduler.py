"""Keeps lanes: loads a model that is wanted, lets go of one that is not, swaps one that changed.

Owns every worker. A model has a lane as long as it is loaded or being loaded; whoever asks for the
lane of a model that is not loaded waits for the load, together with everybody else who asked.

    absent ──lane()──▶ loading ──▶ ready ──unload(), expiry, room for another──▶ absent
                          │          │ ▲
                          ▼          ▼ │ the worker died and is replaced by its supervisor
                        failed ◀── dead        (failed: said to everybody; load() tries again)

A model whose files or settings changed is swapped in a turn of its own: the run that goes on ends,
who waits goes on waiting, and finds the new one. When it does not load although the model's file is
the same (wrong settings), the model goes on with its last good settings, and `failures` says why.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

from rkllmd.config.settings import Config
from rkllmd.errors import Code, EngineError, RkllmdError, StateError
from rkllmd.ids import ConnectionId, ModelName
from rkllmd.promptcache.findings import Findings
from rkllmd.reconcile.caches import ingredients
from rkllmd.registry.loaded import load_spec, loaded
from rkllmd.registry.models import ModelEntry
from rkllmd.scheduling import residency
from rkllmd.scheduling.lane import Lane, Wish
from rkllmd.scheduling.recipe import Recipe
from rkllmd.scheduling.residency import Resident
from rkllmd.scheduling.snapshots import Snapshots
from rkllmd.scheduling.stop import Stop, StopReason
from rkllmd.scheduling.turns import Priority, Turns
from rkllmd.worker.channel import PrefillProgress
from rkllmd.worker.supervisor import Supervisor

OURSELVES = "rkllmd"
NOBODY = ConnectionId(0)
"""The connection of the daemon's own wishes."""


class Scheduler:
    """All lanes of a daemon."""

    def __init__(
        self,
        config: Config,
        available_memory: Callable[[], int | None],
        on_change: Callable[[ModelName], None],
        on_queue: Callable[[ModelName], None],
        on_freed: Callable[[ModelName, StopReason, float], None],
        findings: Findings,
    ) -> None:
        """`on_freed` is told of each run that was stopped, once its worker is free again."""
        self.config = config
        self.lanes: dict[ModelName, Lane] = {}
        self.failures: dict[ModelName, tuple[ModelEntry, str]] = {}
        """Models whose last load failed, as they were then, and why."""
        self.preloaded: frozenset[ModelName] = frozenset()
        self._available_memory = available_memory
        self._on_change = on_change
        self._on_queue = on_queue
        self._on_freed = on_freed
        self._findings = findings
        self.snapshots = Snapshots(config, findings)
        self._loads: dict[ModelName, asyncio.Task[Lane]] = {}
        self._reserved: dict[ModelName, int] = {}
        """The memory that models which are being loaded will need."""
        self._measured_bytes: dict[ModelName, int] = {}
        self._closing = False

    async def open(self) -> None:
        """Begin without what an earlier life may have left."""
        await self.snapshots.clear()

    def adopt(self, config: Config) -> None:
        """Go by other settings; what concerns a loaded model waits for its `swap`."""
        self.config = self.snapshots.config = config

    def forgive(self) -> None:
        """Let what could not be loaded be tried again."""
        self.failures.clear()
        for lane in self.lanes.values():
            lane.refused = None

    async def close(self) -> None:
        """Stop every worker; may be called twice."""
        self._closing = True
        for load in list(self._loads.values()):
            load.cancel()
        await asyncio.gather(*self._loads.values(), return_exceptions=True)
        await asyncio.gather(*(self.unload(name) for name in list(self.lanes)))
        await self.snapshots.clear()

    def loaded(self, name: ModelName) -> Lane | None:
        """The lane of a model, if it is loaded."""
        lane = self.lanes.get(name)
        return lane if lane is not None and lane.model is not None else None

    async def lane(self, entry: ModelEntry) -> Lane:
        """The lane of a model, loaded."""
        if lane := self.loaded(entry.name):
            if lane.has_failed():
                why = lane.supervisor.reason
                raise StateError(Code.NOT_READY, f"the model {entry.name} has failed: {why}")
            lane.last_used = _now()
            return lane
        failure = self.failures.get(entry.name)
        if failure is not None and failure[0] == entry:
            raise EngineError(Code.LOAD_FAILED, f"{entry.name} could not be loaded: {failure[1]}")
        return await self.load(entry)

    async def load(self, entry: ModelEntry) -> Lane:
        """Load a model, also one whose last load failed; one that is loaded is left as it is."""
        lane = self.lanes.get(entry.name)
        if lane is not None and lane.model and not lane.has_failed():
            return lane
        if self._closing:
            raise StateError(Code.SHUTTING_DOWN, "the service is stopping")
        if entry.broken is not None:
            raise EngineError(Code.LOAD_FAILED, f"{entry.name} is broken: {entry.broken}")
        load = self._loads.get(entry.name)
        if load is None:
            load = asyncio.create_task(self._load(entry), name=f"load {entry.name}")
            self._loads[entry.name] = load
            load.add_done_callback(lambda _: self._loads.pop(entry.name, None))
        # Shielded: others wait for the same load, and a client that leaves must not end it.
        return await asyncio.shield(load)

    def load_progress(self, name: ModelName) -> tuple[int, int]:
        """How much of a model that is being loaded is loaded, and of how much."""
        lane = self.lanes.get(name)
        return lane.load_progress if lane is not None else (0, 0)

    async def unload(self, name: ModelName) -> None:
        """Stop a model's worker; whoever waits for it is told."""
        lane = self.lanes.pop(name, None)
        if lane is None:
            return
        if self._closing:
            lane.close(StateError(Code.SHUTTING_DOWN, "the service is stopping"))
        else:
            lane.close(StateError(Code.NOT_READY, "the model was unloaded"))
        await lane.supervisor.stop()
        await self.snapshots.forget_model(name)
        self._on_change(name)

    async def swap(self, entry: ModelEntry) -> None:
        """Replace a loaded model by what its folder and the settings say now.

        No request fails for it, unless the model cannot be loaded any more.
        """
        lane, recipe = self.lanes.get(entry.name), self._recipe(entry)
        if lane is None or not _differs(lane, recipe):
            return
        if lane.has_failed():  # nobody gets a turn there; it is loaded anew
            await self.unload(entry.name)
            return
        try:
            async with lane.turn(Wish(Priority.VOICE, OURSELVES, NOBODY, Stop())):
                if _differs(lane, recipe):  # nobody else has swapped it meanwhile
                    with lane.swap():
                        await self._exchange(lane, recipe)
        except RkllmdError:
            # The model was unloaded, or has failed, while this waited for the turn.
            if self.lanes.get(entry.name) is lane and lane.has_failed():
                await self.unload(entry.name)

    async def _exchange(self, lane: Lane, recipe: Recipe) -> None:
        good, entry = lane.recipe, recipe.entry
        try:
            await self._renew(lane, recipe)
        except RkllmdError as error:
            if good.has_files_of(recipe):
                with suppress(RkllmdError):
                    await self._renew(lane, good)
                    lane.refused = recipe
                    self.failures[entry.name] = (
                        entry,
                        f"{error.message.rstrip('.')}; it goes on as it was",
                    )
                    return
            self._give_up(lane, entry, error)

    async def _renew(self, lane: Lane, recipe: Recipe) -> None:
        await lane.supervisor.stop()
        await self.snapshots.forget_model(recipe.entry.name)
        lane.recipe = recipe
        lane.supervisor = self._supervisor(recipe)
        await self._start(lane)

    async def expire(self) -> None:
        """Unload what nobody has used for its time."""
        for name in residency.expired(self.residents(), _now()):
            await self.unload(name)

    def next_expiry(self) -> float | None:
        """When `expire` has something to do although nothing happens."""
        return residency.next_expiry(self.residents())

    def residents(self) -> list[Resident]:
        """What is loaded, as the rules see it."""
        return [
            Resident(
                name=name,
                last_used=lane.last_used,
                busy=lane.busy or lane.model is None,
                preloaded=name in self.preloaded,
                memory_bytes=self._measured_bytes.get(name, 0),
                keep_alive_s=self._keep_alive_s(lane),
            )
            for name, lane in self.lanes.items()
        ]

    def _keep_alive_s(self, lane: Lane) -> float:
        own = lane.model.entry.settings.keep_alive_s if lane.model is not None else None
        return self.config.models.keep_alive_s if own is None else own

    async def _load(self, entry: ModelEntry) -> Lane:
        if entry.name in self.lanes:  # it has failed, and somebody wants it again
            await self.unload(entry.name)
        with self._room(entry) as leaving:
            for name in leaving:
                await self.unload(name)
            recipe = self._recipe(entry)
            turns = Turns(self.config.queue.length_max)
            lane = Lane(
                recipe,
                self._supervisor(recipe),
                turns,
                self.snapshots,
                partial(self._on_queue, entry.name),
                partial(self._on_freed, entry.name),
            )
            self.lanes[entry.name] = lane
            try:
                await self._start(lane)
            except RkllmdError as error:
                self._give_up(lane, entry, error)
                raise
            except BaseException:
                await self.unload(entry.name)
                raise
            return lane

    @contextmanager
    def _room(self, entry: ModelEntry) -> Iterator[list[ModelName]]:
        """What has to leave for a model, whose memory nobody else is promised meanwhile."""
        available = self._available_memory()
        if available is not None:
            available = max(available - sum(self._reserved.values()), 0)
        needed = self._measured_bytes.get(entry.name, entry.size_bytes)
        loaded_max = self.config.models.loaded_max
        leaving = residency.make_room(self.residents(), needed, available, loaded_max)
        self._reserved[entry.name] = needed
        try:
            yield leaving
        finally:
            del self._reserved[entry.name]

    async def _start(self, lane: Lane) -> None:
        entry = lane.recipe.entry
        await lane.supervisor.start()
        facts = lane.supervisor.facts
        assert facts is not None, "a model that is ready has its facts"
        lane.model = loaded(entry, facts)
        self._findings.note_limit(ingredients(lane.model, None), facts.context_limit)
        self._measured_bytes[entry.name] = facts.memory_bytes
        self.failures.pop(entry.name, None)
        lane.last_used = _now()  # the time that it took to load is no time without use
        self._on_change(entry.name)
        lane.wake()

    def _give_up(self, lane: Lane, entry: ModelEntry, error: RkllmdError) -> None:
        lane.close(error)
        self.lanes.pop(entry.name, None)
        self.failures[entry.name] = (entry, error.message)
        self._on_change(entry.name)

    def _recipe(self, entry: ModelEntry) -> Recipe:
        config = self.config
        return Recipe(entry, load_spec(entry, config), config.engine, config.cancel.hard_ms / 1000)

    def _supervisor(self, recipe: Recipe) -> Supervisor:
        name, spec = recipe.entry.name, recipe.spec
        known = self._findings.of_file(recipe.entry.identity.digest)
        if known is not None and known.context_limit is not None:
            spec = replace(spec, options={**spec.options, "context_limit": known.context_limit})
        return Supervisor(
            name,
            recipe.entry.engine,
            spec,
            recipe.limits,
            recipe.cancel_s,
            on_state=lambda: self._on_worker_change(name),
            on_load=lambda progress: self._on_load(name, progress),
        )

    def _on_load(self, name: ModelName, progress: PrefillProgress) -> None:
        lane = self.lanes.get(name)
        if lane is not None:
            lane.load_progress = (progress.done, progress.total)

    def _on_worker_change(self, name: ModelName) -> None:
        lane = self.lanes.get(name)
        if lane is not None:
            lane.wake()
        self._on_change(name)


def _differs(lane: Lane, recipe: Recipe) -> bool:
    """Whether a loaded model is another one than the recipe makes, and the recipe may be tried."""
    if lane.model is None or recipe == lane.refused:
        return False
    return not recipe.amounts_to(lane.recipe, lane.model.facts)


def _now() -> float:
    return asyncio.get_running_loop().time()
