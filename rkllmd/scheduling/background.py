"""Background turns for the reconciler: a worker to itself until something more urgent wants it."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from rkllmd.errors import Code, NotFound, StateError
from rkllmd.ids import ModelName
from rkllmd.reconcile.building import GaveWay
from rkllmd.reconcile.reconciler import Workplace
from rkllmd.registry.loaded import LoadedModel
from rkllmd.runs import GREEDY, Limits, Prompt, RunStats, StateInfo
from rkllmd.scheduling.lane import Lane, Turn, Wish
from rkllmd.scheduling.scheduler import NOBODY, OURSELVES, Scheduler
from rkllmd.scheduling.stop import Stop, Stopped
from rkllmd.scheduling.turns import Priority
from rkllmd.worker.channel import Call, Piece, PrefillProgress

PATIENCE = 3
OnProgress = Callable[[int, int], None]


class BackgroundWorkers:
    """What the reconciler sees of the scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def loaded(self) -> Mapping[ModelName, LoadedModel]:
        """The models that are loaded now."""
        return {
            name: lane.model
            for name, lane in self._scheduler.lanes.items()
            if lane.model is not None
        }

    def holds_nothing(self, model: ModelName) -> bool:
        """Whether a model's worker is known to hold nothing, as a new one does."""
        lane = self._scheduler.lanes.get(model)
        held = lane.supervisor.held if lane is not None else None
        return held is not None and not held.data

    @asynccontextmanager
    async def engine(
        self, model: ModelName, on_progress: OnProgress, gave_way: int
    ) -> AsyncIterator[Workplace]:
        """A background turn; `GaveWay` when it was taken away.

        What gave way `PATIENCE` times is wanted as much as any other request, but for voices.
        """
        lane = self._scheduler.lanes.get(model)
        if lane is None or lane.model is None:
            raise NotFound(Code.UNKNOWN_MODEL, f"the model {model} is not loaded")
        stop = Stop()
        priority = Priority.BACKGROUND if gave_way < PATIENCE else Priority.NORMAL
        wish = Wish(priority, OURSELVES, NOBODY, stop, yields=True, is_ours=True)
        try:
            async with lane.turn(wish) as turn:
                yield Workplace(_Engine(lane, turn, stop, on_progress), turn.model, lane.prompt)
        except Stopped:
            raise GaveWay from None


class _Engine:
    """A worker as `building` sees it; a call whose turn is taken away ends with `Stopped`."""

    def __init__(self, lane: Lane, turn: Turn, stop: Stop, on_progress: OnProgress) -> None:
        self._lane = lane
        self._worker = turn.worker
        self._stop = stop
        self._on_progress = on_progress

    async def extend(self, prompt: Prompt, words: str) -> Prompt:
        """A prompt with a text behind it."""
        behind = await self._lane.prompt(words)
        return Prompt(prompt.kind, prompt.data + behind.data)

    async def run(self, prompt: Prompt, limits: Limits) -> tuple[RunStats, str]:
        """A greedy run and its text."""
        call = self._worker.run(prompt, GREEDY, limits)
        text = await self._finish(call)
        return call.result, text

    async def save_state(self, path: Path, prompt: Prompt) -> StateInfo:
        """Write the state after a prompt."""
        call = self._worker.save_state(path, prompt)
        await self._finish(call)
        info = call.result
        assert info is not None, "a save that was not stopped has a result"
        return info

    async def load_state(self, path: Path, prefix: Prompt) -> None:
        """Hold a file's state, which is the one after a prefix."""
        self._stop.check()
        await self._worker.load_state(path, prefix)

    async def reset(self) -> None:
        """Hold nothing."""
        self._stop.check()
        await self._worker.reset()

    async def _finish(self, call: Call[RunStats] | Call[StateInfo | None]) -> str:
        self._stop.check()
        forget = self._stop.subscribe(lambda _: call.cancel())
        text = ""
        try:
            async for item in call:
                match item:
                    case Piece(piece):
                        text += piece
                    case PrefillProgress(done, total):
                        self._on_progress(done, total)
        except StateError:
            self._stop.check()  # the model was unloaded under it
            raise
        finally:
            forget()
        self._stop.check()
        return text
