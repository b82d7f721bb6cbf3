"""Which stored prefix is the longest one that a prompt starts with. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath

from rkllmd.ids import CacheName
from rkllmd.runs import Prompt


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored prefix, and the file of its state."""

    name: CacheName
    prefix: Prompt
    tokens: int
    path: PurePath


class PrefixIndex:
    """Prefixes, longest first; made anew when they change, which is rare.

    A search compares slices of memory and stops at the first fit. A hundred entries of eight
    thousand tokens cost some microseconds, as most differ early, and a millisecond at the worst.
    """

    def __init__(self, stored: Iterable[Stored]) -> None:
        # The sort is stable: of two equal prefixes the one that was given first is found.
        self._longest_first = sorted(stored, key=lambda one: -len(one.prefix.data))
        self._by_name = {one.name: one for one in self._longest_first}

    def longest(self, prompt: Prompt) -> Stored | None:
        """The longest prefix that the prompt starts with."""
        return next((one for one in self._longest_first if prompt.starts_with(one.prefix)), None)

    def named(self, name: CacheName) -> Stored | None:
        """The prefix of that name."""
        return self._by_name.get(name)
