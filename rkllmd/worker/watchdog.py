"""Notices that calls are open and nothing moves."""

import asyncio
from collections.abc import Callable


class Watchdog:
    """Calls `on_silence` once, after `seconds` with open calls and without any movement.

    One timer that looks at the last movement when it rings, so a movement costs no timer.
    """

    def __init__(self, seconds: float, on_silence: Callable[[], None]) -> None:
        self._seconds = seconds
        self._on_silence = on_silence
        self._open = 0
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def opened(self) -> None:
        """A call has begun."""
        self._open += 1
        if self._open == 1:
            self.moved()
            self._arm(self._seconds)

    def moved(self) -> None:
        """Something came."""
        self._last = asyncio.get_running_loop().time()

    def closed(self) -> None:
        """A call has ended."""
        self._open -= 1
        self.moved()
        if self._open == 0 and self._timer:
            self._timer.cancel()

    def _arm(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._ring)

    def _ring(self) -> None:
        left = self._last + self._seconds - asyncio.get_running_loop().time()
        if left > 0:
            self._arm(left)
        else:
            self._on_silence()
