"""One model's worker and the queue for it: hands out turns, one at a time.

A turn is had with `async with lane.turn(wish)`. It ends when its owner leaves; or, once its owner
has started a run (`Turn.ends_with`), when the worker is free. So a client that reads slowly holds
up nobody who waits, and a run that cannot be interrupted holds the lane after its owner has left.

All decisions are those of `turns.decide`; `_advance` applies them and runs whenever something
changes.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from rkllmd.errors import Code, RkllmdError, StateError, WorkerLost
from rkllmd.ids import ConnectionId, TicketId
from rkllmd.registry.loaded import LoadedModel
from rkllmd.runs import Prompt
from rkllmd.scheduling.pace import Pace
from rkllmd.scheduling.recipe import Recipe
from rkllmd.scheduling.snapshots import Live, Snapshots
from rkllmd.scheduling.stop import Stop, Stopped, StopReason
from rkllmd.scheduling.turns import Priority, Ticket, Turns
from rkllmd.worker.channel import Call
from rkllmd.worker.supervisor import State, Supervisor

ATTEMPTS = 2
_SMOOTHING = 0.3

_tickets = count(1)

OnFreed = Callable[[StopReason, float], None]
"""A run is over that was stopped: why it was, and how many seconds ago."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Who wants a turn, and what should happen meanwhile."""

    priority: Priority
    user: str
    connection: ConnectionId
    stop: Stop
    start_by: float | None = None
    """By the loop's clock."""
    yields: bool = False
    """Gives way to any higher priority, as `background` always does."""
    is_ours: bool = False
    """The daemon's own work, which can be done another time."""
    on_waiting: Callable[[int, int | None], Awaitable[None]] | None = None
    """Called with the position and the expected wait when the turn does not come at once."""


@dataclass(slots=True)
class Turn:
    """The right to use the worker."""

    worker: Supervisor
    model: LoadedModel
    queued_s: float
    _leave: Callable[[], None]
    _ends_by_itself: bool = False

    def ends_with(self, call: Call[Any]) -> None:
        """Give the worker to the next one when this call is over, wherever the owner is then."""
        self._ends_by_itself = True
        call.when_ended(self._leave)

    def leave(self) -> None:
        """The owner is gone."""
        if not self._ends_by_itself:
            self._leave()


@dataclass(slots=True)
class _Waiting:
    ticket: Ticket
    wish: Wish
    granted: "asyncio.Future[None]" = field(default_factory=lambda: _loop().create_future())


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


class Lane:
    """The queue in front of one model."""

    def __init__(
        self,
        recipe: Recipe,
        supervisor: Supervisor,
        turns: Turns,
        snapshots: Snapshots,
        on_queue: Callable[[], None],
        on_freed: OnFreed,
    ) -> None:
        """`on_queue` hears that somebody may have come, started, overtaken or left."""
        self.recipe = recipe
        self.refused: Recipe | None = None
        """A newer one that could not be loaded."""
        self.supervisor = supervisor
        self.turns = turns
        self.snapshots = snapshots
        self._on_freed = on_freed
        self.pace = Pace()
        self.live: Live | None = None
        """What the last run left; others may have used the worker since."""
        self.model: LoadedModel | None = None
        self.last_used = _loop().time()
        self.load_progress = (0, 0)
        self.turn_s: float | None = None
        """How long a turn took lately, as a moving mean."""
        self.closed: RkllmdError | None = None
        self._swapped: asyncio.Future[None] | None = None
        self._on_queue = on_queue
        self._people: dict[TicketId, _Waiting] = {}
        self._visitors = 0
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        """Whether somebody runs, waits, or is about to; the daemon's own work does not count."""
        return self._visitors > 0 or any(
            not person.wish.is_ours for person in self._people.values()
        )

    def has_failed(self) -> bool:
        """Whether its worker was given up; a swap that goes on may still go back to the old one."""
        return self.supervisor.state is State.FAILED and self._swapped is None

    @contextmanager
    def visited(self) -> Iterator[LoadedModel]:
        """Be seen by those who look for an idle model, also while no turn is wished for yet."""
        assert self.model is not None, "a lane is handed out once its model is loaded"
        self._visitors += 1
        try:
            yield self.model
        finally:
            self._visitors -= 1
            self.last_used = _loop().time()

    @contextmanager
    def swap(self) -> Iterator[None]:
        """Let who needs the worker wait for another one; only in a turn."""
        self._swapped = _loop().create_future()
        try:
            yield
        finally:
            self._swapped.set_result(None)
            self._swapped = None

    def live_state(self) -> Live | None:
        """What the last run left, if the worker still holds it."""
        live = self.live
        return live if live is not None and self.supervisor.held is live.prompt else None

    @asynccontextmanager
    async def turn(self, wish: Wish) -> AsyncIterator[Turn]:
        """Wait for a turn, have it, and give it back."""
        wish.stop.check()
        if self.closed is not None:
            raise self.closed
        if self.has_failed():
            raise self._failed()
        arrived = _loop().time()
        person = self._enter(wish)
        unsubscribe = wish.stop.subscribe(lambda reason: _refuse(person, Stopped(reason)))
        try:
            if not person.granted.done() and wish.on_waiting is not None:
                position = self.turns.position(person.ticket)
                await wish.on_waiting(position, self._wait_ms(position))
            await person.granted
        except BaseException:
            self._leave(person)
            raise
        finally:
            unsubscribe()
        assert self.model is not None, "a turn is granted only while the model is loaded"
        started = _loop().time()
        turn = Turn(
            self.supervisor, self.model, started - arrived, lambda: self._end(person, started)
        )
        try:
            yield turn
        finally:
            turn.leave()

    async def prompt(self, text: str, *, wait: bool = True) -> Prompt:
        """A text as the engine's prompt; waits while the worker is being replaced, or raises."""
        assert self.model is not None, "a lane is handed out once its model is loaded"
        if not self.model.facts.capabilities.tokenizer:
            return Prompt.of_text(text)
        for _ in range(ATTEMPTS if wait else 0):
            await self._wait_for_worker()
            with suppress(WorkerLost):
                return await self.supervisor.tokenize(text)
        if wait:
            await self._wait_for_worker()
        return await self.supervisor.tokenize(text)

    async def _wait_for_worker(self) -> None:
        """Wait while the worker is being replaced."""
        while self._swapped is not None:
            await asyncio.shield(self._swapped)
        if self.closed is not None:
            raise self.closed
        if self.supervisor.state in {State.STARTING, State.LOADING}:
            await self.supervisor.start()

    def wake(self) -> None:
        """The worker's state has changed."""
        if self.has_failed():
            self._refuse_all(self._failed())
        self._advance()

    def close(self, error: RkllmdError) -> None:
        """No more turns: tell everybody who waits, and who comes."""
        self.closed = error
        for person in list(self._people.values()):
            if person.wish.is_ours:
                person.wish.stop.set(StopReason.GIVE_WAY)
        self._refuse_all(error)
        if self._alarm is not None:
            self._alarm.cancel()

    def _enter(self, wish: Wish) -> _Waiting:
        ticket = Ticket(
            TicketId(next(_tickets)),
            wish.priority,
            wish.user,
            wish.connection,
            wish.start_by,
            wish.yields or wish.priority is Priority.BACKGROUND,
        )
        try:
            self.turns.enter(ticket)
        except StateError as full:
            wait_ms = self._wait_ms(self.turns.length_max)
            wait = "" if wait_ms is None else f"; the last one will wait about {wait_ms} ms"
            raise StateError(
                full.code, full.message + wait, **full.details, wait_ms=wait_ms
            ) from None
        person = self._people[ticket.id] = _Waiting(ticket, wish)
        self._advance()
        return person

    def _end(self, person: _Waiting, started: float) -> None:
        now, stop = _loop().time(), person.wish.stop
        if stop.reason is not None:
            self._on_freed(stop.reason, now - stop.at)
        seconds = now - started
        before = seconds if self.turn_s is None else self.turn_s
        self.turn_s = before + _SMOOTHING * (seconds - before)
        self._leave(person)

    def _leave(self, person: _Waiting) -> None:
        self._people.pop(person.ticket.id, None)
        self.turns.leave(person.ticket)
        self.last_used = _loop().time()
        self._advance()

    def _advance(self) -> None:
        now = _loop().time()
        decision = self.turns.decide(now, worker_ready=self.supervisor.state is State.READY)
        for late in decision.too_late:
            _refuse(self._people[late.id], StateError(
                Code.DEADLINE, "the answer could not begin in time: the queue was too long"
            ))  # fmt: skip
        if decision.start is not None:
            person = self._people[decision.start.id]
            if not person.granted.done():
                person.granted.set_result(None)
        if decision.give_way is not None:
            self._people[decision.give_way.id].wish.stop.set(StopReason.GIVE_WAY)
        self._set_alarm()
        self._on_queue()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        at = self.turns.wake_at()
        self._alarm = None if at is None else _loop().call_at(at, self._advance)

    def _failed(self) -> StateError:
        return StateError(Code.NOT_READY, f"the model has failed: {self.supervisor.reason}")

    def _refuse_all(self, error: RkllmdError) -> None:
        for person in list(self._people.values()):
            _refuse(person, error)

    def _wait_ms(self, position: int) -> int | None:
        return None if self.turn_s is None else round(self.turn_s * position * 1000)


def _refuse(person: _Waiting, error: Exception) -> None:
    if not person.granted.done():
        person.granted.set_exception(error)
