"""Noticing that a client is gone while nothing is read from it or written to it.

After a client's half-close there is nothing to read, so asyncio does not look at the socket until
there is something to write; during a long silent prefill there is not. A poll set of our own keeps
every connection with an empty event mask, which reports hang-ups and errors only, and the loop
watches the one descriptor of the set. Quiet connections cost nothing but their place in the
kernel's set.
"""

import asyncio
import select
from collections.abc import Callable


class HangupWatch:
    """Calls back once for each descriptor that hung up."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._poll.fileno(), self._on_ready)

    def add(self, descriptor: int, on_hangup: Callable[[], None]) -> None:
        """Watch until it hung up, or `remove`. The caller keeps it open that long."""
        if not self._poll.closed:
            self._poll.register(descriptor, 0)
            self._callbacks[descriptor] = on_hangup

    def remove(self, descriptor: int) -> None:
        """Stop watching; nothing happens when it is not watched any more."""
        if self._callbacks.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def close(self) -> None:
        """Stop watching everything."""
        if not self._poll.closed:
            self._loop.remove_reader(self._poll.fileno())
            self._poll.close()
            self._callbacks.clear()

    def _on_ready(self) -> None:
        for descriptor, _ in self._poll.poll(0):
            on_hangup = self._callbacks[descriptor]
            self.remove(descriptor)
            on_hangup()
