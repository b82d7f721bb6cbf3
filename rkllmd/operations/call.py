"""What an operation knows of the request it serves: who asks, how to answer, whether it counts.

Transports make these and hand them in; operations never see a socket. A transport runs one
handler for each request, and every request gets exactly one end:

    the handler returns a `Done`      the answer is complete, or was cancelled
    the handler returns a mapping     `ok` with these members
    the handler raises `RkllmdError`  `error` with its code
    anything else is raised           `error` with `internal`, and our mistake

Cancelling is a wish, not a force: `cancel` sets `stop`, and the operation ends by itself, with
`Done(reason="cancelled")` where its kind has a `Done`. `cancel` is called by the operation of that
name, when the client is gone, and when the daemon leaves. An operation that does not end within the
transport's bound after that has its task cancelled.
"""

import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rkllmd.ids import ConnectionId
from rkllmd.protocol.codec import id_key
from rkllmd.protocol.messages import Done, Event, Request
from rkllmd.scheduling.stop import Stop, StopReason

_connection_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `user` is the key for limits and fairness; the numbers are None where unknown."""

    transport: str
    user: str
    pid: int | None = None
    uid: int | None = None
    gid: int | None = None
    connection_id: ConnectionId = field(
        default_factory=lambda: ConnectionId(next(_connection_numbers))
    )


@dataclass(eq=False, slots=True)
class Connection:
    """The requests of one client connection that have not ended."""

    caller: Caller
    _open: dict[object, "Call"] = field(default_factory=dict)

    def opened(self, call: "Call") -> None:
        """A request begins. Its id is none that is open; requests without one are never alike."""
        assert call.slot not in self._open, "the transport refuses an id that is open"
        self._open[call.slot] = call

    def ended(self, call: "Call") -> None:
        """Its last line leaves now; the id is free."""
        self._open.pop(call.slot, None)

    def is_open(self, call: "Call") -> bool:
        """Whether its last line is still to come."""
        return self._open.get(call.slot) is call

    def open_calls(self) -> list["Call"]:
        """All of them, oldest first."""
        return list(self._open.values())

    def find(self, target: Any) -> "Call | None":
        """The open call with this id; a request without an id cannot be found."""
        return self._open.get(id_key(target))


@dataclass(eq=False, slots=True)
class Call:
    """One request while it is served."""

    connection: Connection
    send: Callable[[Event], Awaitable[None]]
    """Tells an event before the end. Waits while the client does not read; once the client is lost
    it raises a `StateError` with `slow_client`."""
    id: Any = None
    """What the client calls it."""
    arrived: float = field(default_factory=time.monotonic)
    """When the request was there, by the clock of `time.monotonic` and of the loop."""
    stop: Stop = field(default_factory=Stop)
    """Set once the answer is no longer wanted."""
    slot: object = field(init=False)
    """What it is found by: equal for equal ids, and for nothing else."""

    def __post_init__(self) -> None:
        self.slot = object() if self.id is None else id_key(self.id)

    @property
    def caller(self) -> Caller:
        """Who asks."""
        return self.connection.caller

    def cancel(self) -> None:
        """Ask the operation to end."""
        self.stop.set(StopReason.CANCELLED)


Reply = Done | Mapping[str, Any]
Handler = Callable[[Request, Call], Awaitable[Reply]]
