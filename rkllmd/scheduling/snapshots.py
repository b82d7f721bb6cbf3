"""States of sessions that had to give up their worker, so that nobody prefills a history twice.

When a run is to begin for another session than the one whose state the worker holds, that state is
written to a file of its own, and loaded again when its session speaks next. It is done where it
pays (`is_worth_keeping`), unless the engine said that it cannot save this model's state. What is
kept is exactly what the engine holds, so nothing is computed again for it. Each session has one
file at most for each model.

The files are in `.snapshots` in the cache folder, beside `cache.bytes_max`, and are no part of the
store: they are gone when the daemon starts or leaves, with their model, and with their session.
They need not outlast a power cut, so nobody waits for the disk. What does not work here costs a
prefill and no answer.
"""

import asyncio
import itertools
import logging
import shutil
from collections.abc import Container, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rkllmd.config.settings import Config
from rkllmd.errors import Code, RkllmdError, WorkerLost
from rkllmd.ids import ModelName
from rkllmd.promptcache.findings import Findings
from rkllmd.reconcile.caches import cannot_save, ingredients
from rkllmd.registry.loaded import LoadedModel
from rkllmd.runs import Prompt
from rkllmd.worker.supervisor import Supervisor

FOLDER = ".snapshots"
GAIN_TOKENS_MIN = 128
"""What is prefilled as fast as a file is written and read."""
TOKEN_BYTES = 4
"""Of text, where tokens cannot be counted; a token of a known language has about as many."""

journal = logging.getLogger("rkllmd")


@dataclass(frozen=True, slots=True)
class Live:
    """What a worker holds since the last run of a session."""

    session: str | None
    prompt: Prompt
    stored_units: int
    """As much of it is a stored prefix, which is never lost."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state on the disk."""

    model: ModelName
    session: str
    prompt: Prompt
    path: Path
    bytes: int
    used: float


def is_worth_keeping(live: Live, session: str | None, prompt: Prompt) -> bool:
    """Whether a state is to be written before a prompt of this session is run over it."""
    if live.session is None or live.session == session:
        return False
    kept = max(live.prompt.common_units(prompt), live.stored_units)
    return live.prompt.units - kept >= _gain_units_min(live.prompt)


def is_worth_loading(snapshot: Snapshot, prompt: Prompt, had_units: int) -> bool:
    """Whether a state has clearly more of a prompt than there is without it."""
    return snapshot.prompt.common_units(prompt) - had_units >= _gain_units_min(prompt)


def _gain_units_min(prompt: Prompt) -> int:
    return GAIN_TOKENS_MIN * (1 if prompt.kind == "tokens" else TOKEN_BYTES)


def surplus(snapshots: Iterable[Snapshot], bytes_max: int) -> list[Snapshot]:
    """What has to go for the rest to fit, unused for longest first."""
    newest_first = sorted(snapshots, key=lambda one: -one.used)
    sums = itertools.accumulate(one.bytes for one in newest_first)
    return [one for one, total in zip(newest_first, sums, strict=True) if total > bytes_max]


class Snapshots:
    """All of them."""

    def __init__(self, config: Config, findings: Findings) -> None:
        self.config = config
        self._findings = findings
        self._folder = Path(config.paths.cache) / FOLDER
        self._known: dict[tuple[ModelName, str], Snapshot] = {}
        self._numbers = itertools.count(1)

    async def clear(self) -> None:
        """Remove them all, and what an earlier life left."""
        self._known.clear()
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    def find(self, model: ModelName, session: str | None) -> Snapshot | None:
        """A session's state."""
        return self._known.get((model, session)) if session is not None else None

    async def keep(self, loaded: LoadedModel, live: Live, worker: Supervisor) -> None:
        """Write what a worker holds; raises only what the worker's death does."""
        assert live.session is not None, "only sessions have snapshots"
        model = loaded.entry.name
        before = self._known.get((model, live.session))
        if (
            self.config.sessions.snapshot_bytes_max == 0
            or cannot_save(loaded, self._findings)
            or (before and before.prompt == live.prompt)
        ):
            return
        path = self._folder / f"{next(self._numbers)}.state"
        try:
            await asyncio.to_thread(self._make_room)
            await worker.save_state(path, live.prompt)
            size = (await asyncio.to_thread(path.stat)).st_size
        except (OSError, RkllmdError) as problem:
            journal.info("a session's state was not kept: %s", problem)
            await _remove([path])
            if isinstance(problem, WorkerLost):
                raise
            if isinstance(problem, RkllmdError) and problem.code is Code.UNSUPPORTED:
                self._findings.note_saving(ingredients(loaded, None), problem.message)
            return
        snapshot = Snapshot(model, live.session, live.prompt, path, size, _now())
        self._known[model, live.session] = snapshot
        gone = surplus(self._known.values(), self.config.sessions.snapshot_bytes_max)
        await self._forget(gone)
        await _remove([before.path] if before else [])

    async def forget_model(self, model: ModelName) -> None:
        """Its states fit no other load of it."""
        await self._forget([one for one in self._known.values() if one.model == model])

    async def forget_session(self, session: str) -> None:
        """It is not to be remembered."""
        await self._forget([one for one in self._known.values() if one.session == session])

    async def retain(self, sessions: Container[str]) -> None:
        """Forget those of all other sessions."""
        await self._forget([one for one in self._known.values() if one.session not in sessions])

    async def forget(self, snapshot: Snapshot) -> None:
        """It cannot be used."""
        await self._forget([snapshot])

    async def _forget(self, gone: list[Snapshot]) -> None:
        for one in gone:
            if self._known.get((one.model, one.session)) is one:
                del self._known[one.model, one.session]
        await _remove([one.path for one in gone])

    def _make_room(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        free = shutil.disk_usage(self._folder).free
        least = self.config.cache.free_bytes_min
        if free < least:
            raise OSError(f"only {free} bytes of the disk are free, and {least} stay so")


async def _remove(paths: list[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            await asyncio.to_thread(path.unlink, missing_ok=True)


def _now() -> float:
    return asyncio.get_running_loop().time()
