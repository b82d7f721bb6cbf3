"""How often and how lately entries were used, kept in memory and written rarely, in one small file.

`.usage.json` in the root of the store: {"entries": {"MODEL/NAME": {"hits", "last_used_at",
"bytes_written"}}}. It only orders evictions and informs people, so losing what a crash took of it
does no harm and a file that cannot be read counts as none.
"""

import json
from collections.abc import Container
from dataclasses import asdict, dataclass, replace
from typing import Annotated

from rkllmd import shape
from rkllmd.ids import CacheName, ModelName, is_name
from rkllmd.promptcache.entry import Key, Moment
from rkllmd.promptcache.fingerprint import Count
from rkllmd.shape import Range

USAGE_BYTES_MAX = 16 << 20


@dataclass(frozen=True, slots=True)
class Usage:
    """What became of one entry."""

    hits: Count = 0
    """Runs that really reused it."""
    last_used_at: Moment = 0.0
    bytes_written: Annotated[int, Range(0, 1 << 62)] = 0
    """To the disk, over all its builds: flash memory wears."""


class UsageBook:
    """The usage of all entries."""

    def __init__(self) -> None:
        self._pages: dict[Key, Usage] = {}
        self.changed = False

    def of(self, key: Key) -> Usage:
        """One entry's usage."""
        return self._pages.get(key, Usage())

    def note_hit(self, key: Key, now: float) -> None:
        """An entry was reused."""
        page = self.of(key)
        self._turn(key, replace(page, hits=page.hits + 1, last_used_at=now))

    def note_written(self, key: Key, count: int) -> None:
        """Bytes of an entry were written."""
        page = self.of(key)
        self._turn(key, replace(page, bytes_written=page.bytes_written + count))

    def rename_model(self, old: ModelName, new: ModelName) -> None:
        """A model's entries go on under its new name."""
        for model, name in [key for key in self._pages if key[0] == old]:
            self._turn((new, name), self._pages.pop((model, name)))

    def keep_only(self, keys: Container[Key]) -> None:
        """Forget entries that are no more."""
        for key in [key for key in self._pages if key not in keys]:
            del self._pages[key]
            self.changed = True

    def render(self) -> bytes:
        """The bytes of the file."""
        pages = {f"{model}/{name}": asdict(page) for (model, name), page in self._pages.items()}
        return (json.dumps({"entries": pages}, indent=1, sort_keys=True) + "\n").encode()

    def read(self, data: bytes) -> None:
        """Take what a file says; nothing of it where it is damaged."""
        try:
            entries = json.loads(data)["entries"]
            pages = {_key(text): shape.read(Usage, page) for text, page in entries.items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return
        self._pages = pages

    def _turn(self, key: Key, page: Usage) -> None:
        self._pages[key] = page
        self.changed = True


def _key(text: str) -> Key:
    model, _, name = text.partition("/")
    if not (is_name(model) and is_name(name)):
        raise ValueError(text)
    return ModelName(model), CacheName(name)
