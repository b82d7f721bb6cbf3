"""Whether and when a dead worker is replaced. Pure; the time is an argument.

The pause doubles from death to death. Deaths within a window are counted, and so are all since the
worker was last ready, however slowly it dies: a model that kills its worker while it is loaded is
given up, not loaded for ever.
"""

from dataclasses import dataclass

PAUSE_SECONDS_MIN = 0.1
PAUSE_SECONDS_MAX = 10.0


@dataclass(frozen=True, slots=True)
class Again:
    """Replace it after a pause."""

    pause_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Replace it no more, and why."""

    reason: str


class Restarts:
    """The deaths that still count."""

    def __init__(self, deaths_max: int, window_s: float) -> None:
        self._deaths_max = deaths_max
        self._window_s = window_s
        self._deaths: list[float] = []

    def decide(self, now: float, *, was_ready: bool) -> Again | GiveUp:
        """What follows from a death at this moment."""
        if was_ready:
            self._deaths = [death for death in self._deaths if now - death < self._window_s]
        self._deaths.append(now)
        count = len(self._deaths)
        if count > self._deaths_max:
            return GiveUp(
                f"its worker died {count} times within {now - self._deaths[0]:.0f} s, "
                f"allowed: {self._deaths_max}"
            )
        return Again(min(PAUSE_SECONDS_MIN * 2 ** (count - 1), PAUSE_SECONDS_MAX))
