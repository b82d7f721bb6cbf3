"""Who has the next turn on a worker. Pure: time comes in, decisions come out.

A worker runs one thing at a time. Whoever wants it takes a ticket; `decide` looks at everybody who
waits and at who runs, and says what has to happen now: who starts, whether the one that runs has to
give way, and whose waiting has become pointless. It is called whenever anything changes (a ticket
comes or goes, a run ends, the worker becomes ready, a time is reached), so there is one path to be
right about.

Order: by priority; within a priority the user who was served longest ago goes first, then that
user's connection that was served longest ago, then the ticket that came first. So nobody starves
within a priority, however many requests or connections somebody else opens.

Work that `yields` gives way to any priority above its own: its turn ends early when it is asked to,
and its owner takes a new ticket. `background` yields by nature; what yielded again and again may
come back with a higher priority, so that a busy day does not keep it from ever being done.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import count

from rkllmd.errors import Code, StateError
from rkllmd.ids import ConnectionId, TicketId


class Priority(IntEnum):
    """The lower one goes first."""

    VOICE = 0
    NORMAL = 1
    BACKGROUND = 2


@dataclass(frozen=True, slots=True)
class Ticket:
    """One wish for a turn."""

    id: TicketId
    priority: Priority
    user: str
    connection: ConnectionId
    start_by: float | None = None
    """Waiting longer than this is pointless."""
    yields: bool = False
    """Gives its turn back when a higher priority wants it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What has to happen now."""

    start: Ticket | None = None
    give_way: Ticket | None = None
    """This running ticket has to end early."""
    too_late: tuple[Ticket, ...] = ()
    """These cannot start in time any more; they are no longer waiting."""


@dataclass(slots=True)
class Turns:
    """The queue for one worker, and who is running on it."""

    length_max: int
    running: Ticket | None = None
    _waiting: dict[TicketId, Ticket] = field(default_factory=dict)
    _served: dict[object, int] = field(default_factory=dict)
    """When a user or a (user, connection) was last given a turn, as a growing number."""
    _turn: Iterator[int] = field(default_factory=lambda: count(1))

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def enter(self, ticket: Ticket) -> None:
        """Take a place in the queue."""
        if len(self._waiting) >= self.length_max:
            raise StateError(
                Code.QUEUE_FULL,
                f"{self.length_max} requests already wait for this model, which is the bound",
                length_max=self.length_max,
            )
        self._waiting[ticket.id] = ticket

    def leave(self, ticket: Ticket) -> None:
        """Give up a place in the queue, or the turn."""
        self._waiting.pop(ticket.id, None)
        if self.running is ticket:
            self.running = None

    def decide(self, now: float, *, worker_ready: bool) -> Decision:
        """What has to happen now; the ticket that starts is running when this returns."""
        too_late = tuple(
            ticket
            for ticket in self._waiting.values()
            if ticket.start_by is not None and ticket.start_by <= now
        )
        for ticket in too_late:
            del self._waiting[ticket.id]
        following = min(self._waiting.values(), key=self._place, default=None)
        if following is None:
            if self.running is None:
                self._served.clear()
            return Decision(too_late=too_late)
        if self.running is not None:
            gives_way = self.running.yields and following.priority < self.running.priority
            return Decision(give_way=self.running if gives_way else None, too_late=too_late)
        if not worker_ready:
            return Decision(too_late=too_late)
        self._start(following)
        return Decision(start=following, too_late=too_late)

    def order(self) -> list[Ticket]:
        """Who waits, the next one first."""
        return sorted(self._waiting.values(), key=self._place)

    def position(self, ticket: Ticket) -> int:
        """How many turns come before this one's, the running one included."""
        ahead = sum(self._place(other) < self._place(ticket) for other in self._waiting.values())
        return ahead + (self.running is not None)

    def wake_at(self) -> float | None:
        """When `decide` has something to say although nothing happens."""
        times = (ticket.start_by for ticket in self._waiting.values())
        return min((time for time in times if time is not None), default=None)

    def _place(self, ticket: Ticket) -> tuple[int, int, int, int]:
        return (
            ticket.priority,
            self._served.get(ticket.user, 0),
            self._served.get((ticket.user, ticket.connection), 0),
            ticket.id,
        )

    def _start(self, ticket: Ticket) -> None:
        del self._waiting[ticket.id]
        self.running = ticket
        turn = next(self._turn)
        self._served[ticket.user] = turn
        self._served[ticket.user, ticket.connection] = turn
