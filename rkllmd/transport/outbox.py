"""What waits for one client, bounded.

Lines go straight to the asyncio transport, which sends what the socket takes and keeps the rest.
When it keeps more than `bytes_max` the outbox is full: senders wait in `room`, each in its own
request, so that only this client's requests slow down. One line is put whole, so the bound is
passed by at most one. A full outbox from which the client took nothing for `stall_s` is reported
once, as stalled.
"""

import asyncio
from collections.abc import Callable

from rkllmd.errors import Code, StateError


class Outbox:
    """The protocol that owns the transport calls `pause`, `resume` and `lose`."""

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        bytes_max: int,
        stall_s: float,
        on_stalled: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._stall_s = stall_s
        self._on_stalled = on_stalled
        self._loop = asyncio.get_running_loop()
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._lost = False
        self._timer: asyncio.TimerHandle | None = None
        transport.set_write_buffer_limits(high=bytes_max, low=bytes_max * 3 // 4)

    @property
    def is_full(self) -> bool:
        """Whether senders wait."""
        return not self._has_room.is_set()

    async def room(self) -> None:
        """Return when a line can be put; `slow_client` when no line can be put any more."""
        while self.is_full:
            await self._has_room.wait()
        if self._lost:
            raise StateError(Code.SLOW_CLIENT, "the client is gone or did not read in time")

    def put(self, lines: bytes) -> None:
        """Send whole lines, whether there is room or not; to a closed connection, nothing."""
        if not self._transport.is_closing():
            self._transport.write(lines)

    def pause(self) -> None:
        """The transport keeps more than the bound."""
        self._has_room.clear()
        self._watch()

    def resume(self) -> None:
        """It keeps clearly less again."""
        self._has_room.set()
        self._forget_timer()

    def finish(self) -> None:
        """Nothing more will be put; what is kept must go on leaving, or it counts as stalled."""
        self._watch()

    def lose(self) -> None:
        """The client is gone: who waits, and who comes later, is told."""
        self._lost = True
        self.resume()

    def _watch(self) -> None:
        self._forget_timer()
        kept = self._transport.get_write_buffer_size()
        self._timer = self._loop.call_later(self._stall_s, self._judge, kept)

    def _judge(self, kept_before: int) -> None:
        if 0 < self._transport.get_write_buffer_size() < kept_before:
            self._watch()
        else:
            self._timer = None
            self._on_stalled()

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
