"""Says when changes are complete: a thing has settled when it looked the same for long enough.

Whoever watches looks at everything and hands in what was seen, with the time of the look:

    settled --looks different--> moving since now --same for settle_s--> settled, reported
       ^                            |      \\--looks different again--> moving since now
       +------looks as before-------+

Being gone is a look like any other, so a file that is exchanged by remove-and-create is one change.
That a thing was still between two looks is taken from their being equal; sizes, times and inodes
are in what is compared, so that a writer shows. Nothing is reported without a look at or after the
moment when it is due.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class _Gone(enum.Enum):
    GONE = enum.auto()


@dataclass(frozen=True, slots=True)
class Look(Generic[K]):
    """What has settled with this look, and when the next one is worth it; None is never."""

    complete: tuple[K, ...]
    again_at: float | None


class Settler(Generic[K, V]):
    """Remembers looks. What is `known` from the start counts as settled: a start does not wait."""

    def __init__(self, settle_s: float, known: Mapping[K, V] | None = None) -> None:
        self._settle_s = settle_s
        self._settled: dict[K, V] = dict(known or {})
        self._moving: dict[K, tuple[V | _Gone, float]] = {}

    @property
    def settled(self) -> Mapping[K, V]:
        """How everything looked when it was last still; what moves is here as it was before."""
        return self._settled

    def look(self, seen: Mapping[K, V], now: float) -> Look[K]:
        """Take in how everything looks now; what is not in `seen` is gone."""
        for key in [*self._moving, *self._settled, *seen]:
            value = seen.get(key, _Gone.GONE)
            if value == self._settled.get(key, _Gone.GONE):
                self._moving.pop(key, None)
            elif key not in self._moving or self._moving[key][0] != value:
                self._moving[key] = (value, now)
        due = {key: since + self._settle_s for key, (_, since) in self._moving.items()}
        complete = tuple(key for key, at in due.items() if at <= now)
        for key in complete:
            value, _ = self._moving.pop(key)
            if isinstance(value, _Gone):
                del self._settled[key]
            else:
                self._settled[key] = value
        return Look(complete, min((at for at in due.values() if at > now), default=None))
