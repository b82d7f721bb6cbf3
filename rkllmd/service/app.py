"""The daemon: the only file that knows every room. Leaving is start-up backwards.

    sockets listen          clients that come early wait instead of failing
    the store opens         leftovers of a crash are swept
    models and prompts      are looked at, and watched from now on
    the models to preload   are loaded, each in its worker
    the reconciler          proves or builds what is missing; workers hold their `system` states
    READY=1                 every preloaded model answers, and its `system` cache is verified or
                            known to be impossible, which STATUS= then says

A first SIGTERM or SIGINT drains: no new connections, no new requests, running answers may finish
for `shutdown.drain_s`. A second one cuts that to nothing.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rkllmd.config.document import ConfigError
from rkllmd.config.loader import Loaded, compare
from rkllmd.config.settings import Config
from rkllmd.errors import Code, RequestError, RkllmdError
from rkllmd.ids import ModelName
from rkllmd.operations.news import NewsDesk
from rkllmd.operations.services import DaemonState, Services
from rkllmd.operations.table import handler
from rkllmd.operations.watching import queue_news
from rkllmd.promptcache.entry import Key
from rkllmd.promptcache.store import Store
from rkllmd.reconcile.caches import Caches
from rkllmd.reconcile.reconciler import Reconciler
from rkllmd.registry.models import ModelEntry
from rkllmd.scheduling.background import BackgroundWorkers
from rkllmd.scheduling.scheduler import Scheduler
from rkllmd.scheduling.sessions import Sessions
from rkllmd.scheduling.stop import StopReason
from rkllmd.service import journal as log
from rkllmd.service.descriptors import fit_clients, raise_limit
from rkllmd.service.faces import Faces
from rkllmd.service.memory import available_bytes
from rkllmd.service.metrics import Metrics
from rkllmd.service.sockets import Sockets, open_sockets
from rkllmd.service.systemd import Notifier, inherited_sockets, watchdog_interval
from rkllmd.transport.listen import ListenError
from rkllmd.watch.inventory import Inventory
from rkllmd.watch.observer import FolderWatch

journal = logging.getLogger("rkllmd")

PROGRESS_SECONDS = 1.0
STATUS_SECONDS = 5.0
EXTENSION_SECONDS = 60.0
LEAVING_SECONDS = 45.0
"""What it takes to leave at most, once answers have had their time."""
CANNOT_LISTEN = 69
"""EX_UNAVAILABLE of sysexits.h."""

ReadConfig = Callable[[], Loaded]


def serve(read_config: ReadConfig, loaded: Loaded) -> int:
    """Run until told to stop; the exit status."""
    log.set_up(sys.stderr, os.environ, loaded.config.log.level)
    notifier = Notifier()
    inherited = inherited_sockets(os.environ, os.getpid())
    heartbeat_s = watchdog_interval(os.environ, os.getpid())
    config, few_clients = fit_clients(loaded.config, raise_limit(loaded.config))
    try:
        sockets = open_sockets(config, inherited)
        if few_clients:
            journal.warning("%s", few_clients)
            sockets.notes.append(few_clients)
        asyncio.run(Daemon(read_config, config, notifier, heartbeat_s).live(sockets))
    except ListenError as error:
        journal.error("%s", error)
        return CANNOT_LISTEN
    finally:
        notifier.close()
    return 0


class Daemon:
    """One life of the daemon."""

    def __init__(
        self,
        read_config: ReadConfig,
        config: Config,
        notifier: Notifier,
        heartbeat_s: float | None,
    ) -> None:
        self._read_config = read_config
        self._notifier = notifier
        self._heartbeat_s = heartbeat_s
        self._changed = asyncio.Event()
        self._leaving = asyncio.Event()
        self._hurry = asyncio.Event()
        self._store = Store(Path(config.paths.cache))
        self._inventory = Inventory(config)
        self._caches = Caches(config.cache, self._trigger, self._store.findings)
        self._scheduler = Scheduler(
            config,
            available_bytes,
            self._on_model_change,
            self._on_queue_change,
            self._on_freed,
            self._store.findings,
        )
        self._news = NewsDesk()
        self._reconciler = Reconciler(
            self._store,
            self._caches,
            BackgroundWorkers(self._scheduler),
            config.cache,
            self._on_cache_change,
        )
        self._services = Services(
            config=config,
            registry=self._inventory.registry,
            scheduler=self._scheduler,
            caches=self._caches,
            reconciler=self._reconciler,
            sessions=Sessions(
                config.sessions.expire_s, config.sessions.count_max, config.sessions.bytes_max
            ),
            news=self._news,
            reload=self.reload,
            notes=self._notes,
        )
        self._metrics = Metrics(self._services)
        self._queues_told: dict[ModelName, dict[str, Any]] = {}
        self._socket_notes: list[str] = []

    def _trigger(self) -> None:
        self._reconciler.trigger()

    async def live(self, sockets: Sockets) -> None:
        """From the first connection to the last."""
        async with AsyncExitStack() as stack:
            stack.callback(sockets.close)
            self._listen_to_signals(stack)
            self._socket_notes = sockets.notes
            metrics = self._metrics
            faces = Faces(
                self._services.config,
                sockets,
                metrics.observing(handler(self._services)),
                metrics.text,
                metrics.note_http,
            )
            await stack.enter_async_context(faces)
            self._notifier.status("starting")
            await faces.serve_http()
            await self._open_store(stack)
            await self._scheduler.open()
            stack.push_async_callback(self._scheduler.close)
            watch = FolderWatch(self._inventory.trees, lambda _: self._changed.set())
            await stack.enter_async_context(watch)
            await self._inventory.begin()
            self._take_inventory()
            async with asyncio.TaskGroup() as tasks:
                mine = [
                    tasks.create_task(self._become_ready(), name="become ready, then reconcile"),
                    tasks.create_task(self._follow_files(), name="follow files"),
                    tasks.create_task(self._let_go_of_the_unused(), name="let go of the unused"),
                    tasks.create_task(self._beat(), name="beat"),
                ]
                await self._leaving.wait()
                await self._drain(faces)
                for task in mine:
                    task.cancel()

    async def _open_store(self, stack: AsyncExitStack) -> None:
        try:
            sweep = await asyncio.to_thread(self._store.open)
        except RkllmdError as error:
            # Answers need no caches.
            journal.error("prompt caches cannot be kept: %s", error.message)
            self._caches.out_of_order = error.message
            return
        stack.push_async_callback(self._close_store)
        for problem in sweep.problems:
            journal.warning("the cache folder: %s", problem)
        if sweep.removed or sweep.finished:
            journal.info(
                "the cache folder: %d leftovers removed, %d changes finished",
                sweep.removed,
                sweep.finished,
            )

    async def _close_store(self) -> None:
        for key, at in self._caches.hits:
            self._store.note_hit(*key, at)
        await asyncio.to_thread(self._store.close)

    # Becoming ready

    async def _become_ready(self) -> None:
        saying = asyncio.create_task(self._say_progress(), name="progress")
        try:
            await self._preload()
            while (await self._reconciler.reconcile()).gave_way:
                pass
        finally:
            saying.cancel()
        # What is there now stays; a full collection in the middle of an answer need not look at it.
        gc.collect()
        gc.freeze()
        self._services.state = DaemonState.READY
        self._news.tell("state", state=str(self._services.state))
        self._notifier.ready(self._summary())
        journal.info("ready: %s", self._summary())
        await self._reconciler.run()

    async def _preload(self) -> None:
        for entry in self._to_preload():
            try:
                await self._scheduler.lane(entry)
            except RkllmdError as error:
                journal.error("%s", error.message)

    def _to_preload(self) -> list[ModelEntry]:
        wanted = self._services.config.models.preload
        models = self._services.registry.models
        if isinstance(wanted, tuple):
            names: set[str] = set(wanted)
        else:
            default = self._services.default_model()
            names = {"all": set[str](models), "none": set(), "default": {default or ""}}[wanted]
        chosen = [
            entry
            for name, entry in models.items()
            if (name in names if entry.settings.preload is None else entry.settings.preload)
        ]
        self._scheduler.preloaded = frozenset(entry.name for entry in chosen)
        return chosen

    async def _say_progress(self) -> None:
        """Keep systemd informed and patient while the first caches are built."""
        while True:
            self._notifier.extend_timeout(EXTENSION_SECONDS)
            self._notifier.status(self._reconciler.said() or "loading")
            await asyncio.sleep(PROGRESS_SECONDS)

    def _summary(self) -> str:
        models = len(self._scheduler.lanes)
        states = [one["state"] for one in self._caches.listing()]
        text = (
            f"{models} models loaded, {states.count('verified')} of {len(states)} caches verified"
        )
        return "; ".join([text, *self._notes()])

    def _notes(self) -> list[str]:
        caches, registry = self._caches, self._services.registry
        return [
            *self._socket_notes,
            *([f"no prompt caches: {caches.out_of_order}"] if caches.out_of_order else []),
            *(f"{name}: {entry.broken}" for name, entry in registry.models.items() if entry.broken),
            *(f"{name}: {why}" for name, (_, why) in self._scheduler.failures.items()),
            *(
                f"{name} has no caches: {why}"
                for name in caches.models
                if (why := caches.cannot_save(name))
            ),
            *(f"{note.model}/{note.name}: {note.reason}" for note in self._reconciler.notes),
            *caches.notes,
            *registry.warnings,
            *caches.prompts.warnings,
        ]

    # What changes meanwhile

    def _on_model_change(self, name: ModelName) -> None:
        lane = self._scheduler.lanes.get(name)
        loaded = lane.model if lane is not None else None
        before = self._caches.models.get(name)
        if loaded is not None:
            self._caches.models[name] = loaded
        else:
            self._caches.models.pop(name, None)
        if loaded is not before:
            self._reconciler.trigger()
            for warning in loaded.facts.warnings if loaded is not None else ():
                journal.warning("%s: %s", name, warning)
        self._metrics.note_model(name)
        state = "unloaded" if lane is None else str(lane.supervisor.state)
        reason = "" if lane is None else lane.supervisor.reason
        self._news.tell("model", model=name, state=state, reason=reason)

    def _on_freed(self, name: ModelName, reason: StopReason, seconds: float) -> None:
        self._metrics.note_freed(name, reason, seconds)

    def _on_cache_change(self, key: Key, what: str, reason: str) -> None:
        self._metrics.note_cache(key[0], what)
        self._news.tell("cache", model=key[0], name=key[1], state=what, reason=reason)

    def _on_queue_change(self, name: ModelName) -> None:
        """Tell who watches; making the news costs as much as the queue is long."""
        lane = self._scheduler.lanes.get(name)
        if lane is None or not self._news.is_watched("queue"):
            self._queues_told.pop(name, None)
            return
        news = queue_news(name, lane.turns)
        if news != self._queues_told.get(name):
            self._queues_told[name] = news
            self._news.tell("queue", **news)

    async def _follow_files(self) -> None:
        again_s: float | None = None
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(again_s):
                    await self._changed.wait()
            self._changed.clear()
            again_s = await self._inventory.look()
            await self._apply_inventory()

    def _take_inventory(self) -> None:
        registry = self._inventory.registry
        self._services.registry = self._reconciler.registry = registry
        self._caches.prompts = self._inventory.prompts
        self._reconciler.complete = registry.complete and self._inventory.prompts.complete
        default = self._services.default_model()
        self._reconciler.default = ModelName(default) if default else None
        self._services.looked.set()

    async def _apply_inventory(self) -> None:
        """Let workers follow: swap what changed, stop what is gone, preload what is new."""
        self._take_inventory()
        models = self._services.registry.models
        for name in list(self._scheduler.lanes):
            entry = models.get(name)
            if entry is None:
                await self._scheduler.unload(name)
            elif entry.broken is None:
                with suppress(RkllmdError):  # it was let go meanwhile
                    await self._scheduler.swap(entry)
            # A broken folder: the model goes on as it was loaded, and the notes say why.
        for entry in self._to_preload():
            if entry.name not in self._scheduler.lanes and entry.broken is None:
                with suppress(RkllmdError):
                    await self._scheduler.lane(entry)
        self._reconciler.trigger()

    async def _let_go_of_the_unused(self) -> None:
        while True:
            at = self._scheduler.next_expiry()
            pause = STATUS_SECONDS if at is None else max(at - self._services.now(), 1.0)
            await asyncio.sleep(min(pause, STATUS_SECONDS))
            await self._scheduler.expire()
            remembered = self._services.sessions.all(self._services.now())
            await self._scheduler.snapshots.retain({one.name for one in remembered})

    async def _beat(self) -> None:
        """Tell systemd that this loop turns; a run that hangs is ended by its supervisor."""
        while self._heartbeat_s is not None:
            self._notifier.watchdog()
            await asyncio.sleep(self._heartbeat_s)

    # Reload

    async def reload(self) -> dict[str, Any]:
        """Read the configuration, the models and the prompts again."""
        try:
            new = await asyncio.to_thread(self._read_config)
        except ConfigError as error:
            problems = str(error).splitlines()
            raise RequestError(
                Code.BAD_REQUEST,
                f"the configuration was not taken: {problems[0]}",
                problems=problems,
            ) from error
        changes = compare(self._services.config, new.config)
        self._take_config(new.config)
        # What a load failed for, such as a library that was not there, may be mended.
        self._scheduler.forgive()
        await self._inventory.begin()
        await self._apply_inventory()
        journal.info("reloaded: %d settings changed", len(changes.applied))
        return {"applied": list(changes.applied), "needs_restart": list(changes.needs_restart)}

    def _take_config(self, new: Config) -> None:
        old = self._services.config
        config = replace(
            new, paths=old.paths, socket=old.socket, http=old.http, wyoming=old.wyoming
        )
        self._services.config = config
        self._scheduler.adopt(config)
        self._caches.config = self._reconciler.config = config.cache
        sessions = self._services.sessions
        sessions.expire_s = config.sessions.expire_s
        sessions.count_max = config.sessions.count_max
        sessions.bytes_max = config.sessions.bytes_max
        log.set_level(config.log.level)

    async def _reload_for_signal(self) -> None:
        self._notifier.reloading()
        try:
            await self.reload()
        except RkllmdError as error:
            journal.error("%s", error.message)
        finally:
            self._notifier.ready(self._summary())

    # Leaving

    def _listen_to_signals(self, stack: AsyncExitStack) -> None:
        loop = asyncio.get_running_loop()
        reloads: set[asyncio.Task[None]] = set()

        def reload() -> None:
            task = loop.create_task(self._reload_for_signal(), name="reload")
            reloads.add(task)
            task.add_done_callback(reloads.discard)

        for number, action in (
            (signal.SIGTERM, self.leave),
            (signal.SIGINT, self.leave),
            (signal.SIGHUP, reload),
        ):
            loop.add_signal_handler(number, action)
            stack.callback(loop.remove_signal_handler, number)

    def leave(self) -> None:
        """Drain and stop; the second time at once."""
        if self._leaving.is_set():
            self._hurry.set()
        self._leaving.set()

    async def _drain(self, faces: Faces) -> None:
        self._services.state = DaemonState.STOPPING
        self._news.tell("state", state=str(self._services.state))
        self._notifier.stopping()
        self._notifier.extend_timeout(self._services.config.shutdown.drain_s + LEAVING_SECONDS)
        journal.info("stopping")
        closing = asyncio.create_task(faces.close(self._services.config.shutdown.drain_s))
        hurrying = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({closing, hurrying}, return_when=asyncio.FIRST_COMPLETED)
        if not closing.done():
            await faces.close(0.0)
        hurrying.cancel()
        await closing
