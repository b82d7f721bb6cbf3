"""What has to go when the cache folder holds too much. Pure: sizes, uses and budgets in, names out.

Who may go, in this order; declared and pinned entries never do:

1. learned entries, as a whole: nobody asked for them and they come back by themselves
2. states of prompts made through the API; their texts stay, and with them the prompt

Within each, the one unused for longest goes first, but never the head of a longer entry that may go
too: a prefix without its tail still helps, and it is used whenever its tail is.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rkllmd.promptcache.entry import Key, Source
from rkllmd.runs import Prompt

_ORDER: dict[Source, int] = {"learned": 0, "api": 1}


@dataclass(frozen=True, slots=True)
class Held:
    """An entry as eviction sees it."""

    key: Key
    source: Source
    pinned: bool
    bytes: int
    last_used_at: float
    prefix: Prompt


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be held."""

    bytes_max: int = 0
    """0 is no limit."""
    free_bytes_min: int = 0
    learned_max: int = 1 << 30
    """Of each model."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What has to go, first to last, and what is still missing when all of it is gone."""

    victims: tuple[Key, ...]
    short_bytes: int = 0


def choose(
    held: Sequence[Held],
    budget: Budget,
    *,
    used_bytes: int,
    free_bytes: int,
    needed_bytes: int = 0,
) -> Choice:
    """The fewest victims, in order, until the folder with `needed_bytes` more keeps its budget.

    Where they do not suffice for what is needed nothing is gained by letting go, so then only what
    is over budget already has to go and `short_bytes` says how much more would be needed.
    """
    order = _in_order(held)
    too_many = _too_many(order, budget.learned_max)
    too_much = _missing(budget, used_bytes, free_bytes, 0)
    wanted = _missing(budget, used_bytes, free_bytes, needed_bytes)
    available = sum(one.bytes for one in order)
    goal = wanted if wanted <= available else min(too_much, available)
    victims, freed = list(too_many), sum(one.bytes for one in too_many)
    for one in order:
        if freed >= goal:
            break
        if one not in too_many:
            victims.append(one)
            freed += one.bytes
    chosen = sorted(victims, key=order.index)
    return Choice(tuple(one.key for one in chosen), max(0, wanted - available))


def _missing(budget: Budget, used: int, free: int, needed: int) -> int:
    over = used + needed - budget.bytes_max if budget.bytes_max else 0
    return max(0, over, budget.free_bytes_min + needed - free)


def _too_many(order: Iterable[Held], learned_max: int) -> list[Held]:
    learned = [one for one in order if one.source == "learned"]
    spare = Counter(one.key[0] for one in learned)
    victims = []
    for one in learned:
        if spare[one.key[0]] > learned_max:
            spare[one.key[0]] -= 1
            victims.append(one)
    return victims


def _in_order(held: Iterable[Held]) -> list[Held]:
    """Everything that may go, first to last."""
    evictable = [one for one in held if one.source in _ORDER and not one.pinned]

    def rank(one: Held) -> tuple[int, float, int, Key]:
        # A head counts as used when its tails were; at equal times the longer one goes first.
        uses = [tail.last_used_at for tail in evictable if _is_tail(tail, one)]
        return _ORDER[one.source], max(uses), -len(one.prefix.data), one.key

    return sorted(evictable, key=rank)


def _is_tail(tail: Held, head: Held) -> bool:
    return (
        tail.key[0] == head.key[0]
        and tail.source == head.source
        and tail.prefix.starts_with(head.prefix)
    )
