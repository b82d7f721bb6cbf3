"""Which models stay loaded. Pure.

A load that does not fit makes room by unloading models that nobody uses, the one unused for longest
first. What is busy is never unloaded, and what is preloaded only when nothing else is left. When no
room can be made the load fails and says the numbers.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from rkllmd.errors import Code, EngineError, StateError
from rkllmd.ids import ModelName

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Resident:
    """A model that is loaded."""

    name: ModelName
    last_used: float
    busy: bool
    preloaded: bool
    memory_bytes: int
    keep_alive_s: float
    """-1 for ever."""


def make_room(
    residents: Iterable[Resident], needed_bytes: int, available_bytes: int | None, loaded_max: int
) -> list[ModelName]:
    """The models to unload before another one is loaded, or an error when that is not enough.

    `available_bytes` None is for a system that does not say.
    """
    loaded = list(residents)
    leaving: list[ModelName] = []
    for victim in sorted(loaded, key=lambda one: (one.preloaded, one.last_used)):
        if _fits(len(loaded) - len(leaving), needed_bytes, available_bytes, loaded_max):
            return leaving
        if victim.busy:
            continue
        leaving.append(victim.name)
        if available_bytes is not None:
            available_bytes += victim.memory_bytes
    if _fits(len(loaded) - len(leaving), needed_bytes, available_bytes, loaded_max):
        return leaving
    if len(loaded) - len(leaving) >= loaded_max:
        raise StateError(
            Code.NOT_READY,
            f"{loaded_max} models may be loaded at a time, and all of them are in use",
            loaded_max=loaded_max,
        )
    available = available_bytes or 0
    raise EngineError(
        Code.OUT_OF_MEMORY,
        f"the model needs about {needed_bytes // MIB} MiB, and {available // MIB} MiB can be had",
        needed_bytes=needed_bytes,
        available_bytes=available,
    )


def expired(residents: Iterable[Resident], now: float) -> list[ModelName]:
    """The idle models whose time is over."""
    return [
        one.name
        for one in residents
        if not one.busy and 0 <= one.keep_alive_s <= now - one.last_used
    ]


def next_expiry(residents: Iterable[Resident]) -> float | None:
    """When `expired` has something to say although nothing happens."""
    times = (
        one.last_used + one.keep_alive_s
        for one in residents
        if not one.busy and one.keep_alive_s >= 0
    )
    return min(times, default=None)


def _fits(count: int, needed: int, available: int | None, loaded_max: int) -> bool:
    return count < loaded_max and (available is None or needed <= available)
