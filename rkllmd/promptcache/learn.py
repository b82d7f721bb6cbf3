"""Which system prompts clients keep sending, and who spoils theirs with a changing line. Pure.

A system prompt that was seen `after` times with a model becomes an entry of its own, named
`learned-` and eight digits of the rendered prefix's digest. A new prompt that is almost the one
that the same client sent before, `after` times, never will be: something in it changes all the
time, mostly a clock. Then the first place that differs is named once, for a warning.

What is remembered is bounded: `SIGHTINGS_MAX` digests with their counts, and the last prompt of
`CLIENTS_MAX` clients up to `KEPT_CHARACTERS_MAX`; what was seen least lately is forgotten.
"""

import hashlib
from collections import Counter, OrderedDict
from dataclasses import dataclass

from rkllmd.ids import LEARNED, CacheName, ModelName
from rkllmd.runs import Prompt

SIGHTINGS_MAX = 1024
CLIENTS_MAX = 64
KEPT_CHARACTERS_MAX = 131_072
SNIPPET_CHARACTERS = 40
ALIKE_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Sighting:
    """A request that brought its own system prompt."""

    model: ModelName
    client: str
    """Who sent it; the same text for the same program."""
    text: str
    """The system prompt as it was sent."""
    prefix: Prompt
    """What the template made of it."""
    tokens: int


@dataclass(frozen=True, slots=True)
class Learn:
    """This prompt is worth an entry."""

    model: ModelName
    name: CacheName
    text: str
    prefix: Prompt
    client: str


@dataclass(frozen=True, slots=True)
class Changing:
    """A client changes its prompt every time, from this place on."""

    model: ModelName
    client: str
    position: int
    """Characters that stay the same."""
    before: str
    """What stood there last time."""
    now: str
    """What stands there now."""

    def __str__(self) -> str:
        return (
            f"the system prompt of {self.client} for {self.model} keeps changing from character"
            f" {self.position} on ({self.before!r}, now {self.now!r}), so nothing behind it can be"
            " cached; move what changes to the end, or into the user's message"
        )


@dataclass(slots=True)
class _Client:
    """The last prompt of a client for a model, and how often it was a new one with a change."""

    text: str
    changes: int = 0
    warned: bool = False


def learned_name(prefix: Prompt) -> CacheName:
    """The name of the entry that a prefix becomes."""
    return CacheName(LEARNED + _digest(prefix)[:8])


class Learner:
    """Counts sightings."""

    def __init__(self, after: int, tokens_min: int) -> None:
        self._after = after
        self._tokens_min = tokens_min
        self._counts: OrderedDict[tuple[ModelName, str], int] = OrderedDict()
        self._clients: OrderedDict[tuple[ModelName, str], _Client] = OrderedDict()

    def saw(self, sighting: Sighting) -> Learn | Changing | None:
        """Count a sighting; what should be done about it."""
        if not self._after or sighting.tokens < self._tokens_min:
            return None
        count = self._count(sighting)
        changing = self._compare(sighting, is_new=count == 1)
        if count == self._after:
            name = learned_name(sighting.prefix)
            return Learn(sighting.model, name, sighting.text, sighting.prefix, sighting.client)
        return changing

    def forget(self, model: ModelName, prefix: Prompt) -> None:
        """Count a prefix from the start again, as its entry is gone."""
        self._counts.pop((model, _digest(prefix)), None)

    def _count(self, sighting: Sighting) -> int:
        key = sighting.model, _digest(sighting.prefix)
        count = self._counts.pop(key, 0) + 1
        self._counts[key] = count
        if len(self._counts) > SIGHTINGS_MAX:
            self._counts.popitem(last=False)
        return count

    def _compare(self, sighting: Sighting, *, is_new: bool) -> Changing | None:
        key = sighting.model, sighting.client
        text = sighting.text[:KEPT_CHARACTERS_MAX]
        client = self._clients.pop(key, None) or _Client(text)
        self._clients[key] = client
        if len(self._clients) > CLIENTS_MAX:
            self._clients.popitem(last=False)
        before, client.text = client.text, text
        # A client that takes turns between a few prompts changes nothing.
        if client.warned or not is_new or before == text or not alike(before, text):
            return None
        client.changes += 1
        if client.changes < self._after:
            return None
        client.warned = True
        position = _common_head(before, text)
        snippet = slice(position, position + SNIPPET_CHARACTERS)
        return Changing(sighting.model, sighting.client, position, before[snippet], text[snippet])


def alike(one: str, other: str) -> bool:
    """Whether two texts are one with a change: half of it, as ends or as lines, is the same."""
    enough = ALIKE_SHARE * max(len(one), len(other))
    head = _common_head(one, other)
    if head + _common_head(one[head:][::-1], other[head:][::-1]) >= enough:
        return True
    common = Counter(one.splitlines()) & Counter(other.splitlines())
    return sum(len(line) * count for line, count in common.items()) >= enough


def _common_head(one: str, other: str) -> int:
    """How many characters both begin with, by bisection as slices compare fast."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _digest(prefix: Prompt) -> str:
    return hashlib.sha256(prefix.kind.encode() + b"\n" + prefix.data).hexdigest()
