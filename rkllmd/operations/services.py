"""What the operations work on: the daemon's parts, handed in by the composition root."""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from rkllmd.config.settings import Config
from rkllmd.errors import Code, NotFound
from rkllmd.ids import ModelName
from rkllmd.operations.call import Call
from rkllmd.operations.news import NewsDesk
from rkllmd.protocol.messages import Done, Request
from rkllmd.reconcile.caches import Caches
from rkllmd.reconcile.reconciler import Reconciler
from rkllmd.registry.models import ModelEntry, Registry
from rkllmd.scheduling.scheduler import Scheduler
from rkllmd.scheduling.sessions import Sessions
from rkllmd.scheduling.stop import Stop


class DaemonState(StrEnum):
    """Where the daemon is in its life."""

    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


@dataclass(slots=True)
class Services:
    """One daemon's parts."""

    config: Config
    registry: Registry
    scheduler: Scheduler
    caches: Caches
    reconciler: Reconciler
    sessions: Sessions
    news: NewsDesk
    reload: Callable[[], Awaitable[dict[str, Any]]]
    """Read configuration, models and prompts again; what took effect and what waits."""
    notes: Callable[[], list[str]]
    """What an administrator should know."""
    looked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is known which models and prompts there are."""
    state: DaemonState = DaemonState.STARTING
    last: dict[str, Any] | None = None
    """How the last request went."""
    totals: Counter[str] = field(default_factory=Counter)
    """Sums over all answers since the start."""
    started: float = field(default_factory=time.monotonic)
    _calls: dict[str, set[Call]] = field(default_factory=lambda: defaultdict(set))
    """The requests that are open in each session."""
    _answers: dict[str, dict[Call, asyncio.Event]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    """The answers that each session's history is to get, with what is set when it has them."""
    _prefills: dict[str, Call] = field(default_factory=dict)
    """The prefill that goes on for each session."""

    @staticmethod
    def now() -> float:
        """The time, by the clock of the loop and of `Call.arrived`."""
        return time.monotonic()

    async def wait_for_models(self, stop: Stop) -> None:
        """Wait until it is known which models there are."""
        if not self.looked.is_set():
            await stop.guard(self.looked.wait())

    def model(self, name: str | None) -> ModelEntry:
        """The model of that name, or the default one."""
        wanted = name or self.default_model()
        entry = self.registry.models.get(ModelName(wanted)) if wanted else None
        if entry is None:
            known = sorted(self.registry.models)
            there = f"; there are {', '.join(known)}" if known else "; there is none at all"
            what = f"there is no model {wanted!r}" if wanted else "there is no usable model"
            raise NotFound(Code.UNKNOWN_MODEL, what + there, model=wanted, models=known)
        return entry

    def default_model(self) -> str | None:
        """The model of requests that name none."""
        if self.config.models.default:
            return self.config.models.default
        lanes = self.scheduler.lanes
        models = self.registry.models.items()
        usable = (name for name, entry in models if entry.broken is None or name in lanes)
        return next(usable, None)

    @contextmanager
    def serving(self, request: Request, call: Call) -> Iterator[None]:
        """Know a request by its session while it is open."""
        session = getattr(request, "session", None)
        if session is None:
            yield
            return
        self._calls[session].add(call)
        try:
            yield
        finally:
            self._calls[session].discard(call)
            if not self._calls[session]:
                del self._calls[session]

    def speaking(self, session: str) -> set[Call]:
        """The requests that are open in a session."""
        return set(self._calls.get(session, ()))

    @contextmanager
    def answering(self, session: str | None, call: Call) -> Iterator[None]:
        """Be an answer of a session, until its history has it."""
        if session is None:
            yield
            return
        ended = self._answers[session][call] = asyncio.Event()
        try:
            yield
        finally:
            ended.set()
            del self._answers[session][call]
            if not self._answers[session]:
                del self._answers[session]

    async def wait_for_history(self, session: str | None, stop: Stop) -> None:
        """Wait for what was cancelled in a session: until it ends, the history lacks it."""
        for call, ended in list(self._answers.get(session or "", {}).items()):
            if call.stop.is_set():
                await stop.guard(ended.wait())

    def supersede(self, session: str | None) -> None:
        """End the prefill of a session: something newer is here."""
        before = self._prefills.pop(session, None) if session is not None else None
        if before is not None:
            before.cancel()

    @contextmanager
    def superseding(self, session: str | None, call: Call) -> Iterator[None]:
        """Be the session's prefill, until something newer comes."""
        self.supersede(session)
        if session is not None:
            self._prefills[session] = call
        try:
            yield
        finally:
            if session is not None and self._prefills.get(session) is call:
                del self._prefills[session]

    def note_answer(self, done: Done) -> None:
        """Keep how the last answer went, and the sums, for `status`."""
        self.totals.update(
            answers=1,
            cache_hits=int(done.usage.cache_hit),
            prompt_tokens=done.usage.prompt_tokens,
            cached_tokens=done.usage.cached_tokens,
            completion_tokens=done.usage.completion_tokens,
        )
        self.last = {
            "model": done.model,
            "reason": done.reason,
            "prompt_tokens": done.usage.prompt_tokens,
            "cached_tokens": done.usage.cached_tokens,
            "completion_tokens": done.usage.completion_tokens,
            "cache_hit": done.usage.cache_hit,
            "ttft_ms": done.timing.ttft_ms,
            "tokens_per_s": done.timing.tokens_per_s,
        }
