"""What happens in the daemon, told to whoever watches. Nobody who is slow holds anybody up."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from rkllmd.protocol.messages import WatchKind

WAITING_MAX = 1000
"""A watcher that falls this far behind misses the oldest news and is told how many."""

News = tuple[WatchKind, dict[str, Any]]
"""A kind, and what is to be said."""


@dataclass(eq=False, slots=True)
class Watcher:
    """One who watches."""

    kinds: frozenset[str]
    missed: int = 0
    _waiting: "asyncio.Queue[News | None]" = field(
        default_factory=lambda: asyncio.Queue(WAITING_MAX)
    )

    def wants(self, kind: WatchKind) -> bool:
        """Whether it watches this kind; who names none watches all."""
        return not self.kinds or kind in self.kinds

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> News:
        news = await self._waiting.get()
        if news is None:
            raise StopAsyncIteration
        if self.missed:
            news, self.missed = (news[0], {**news[1], "missed": self.missed}), 0
        return news

    def hear(self, news: News | None) -> None:
        """Take a piece of news; None is the end."""
        if self._waiting.full():
            self._waiting.get_nowait()
            self.missed += 1
        self._waiting.put_nowait(news)


class NewsDesk:
    """Hands every piece of news to every watcher of its kind."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()

    @contextmanager
    def watching(self, kinds: tuple[str, ...]) -> Iterator[Watcher]:
        """Watch some kinds, or all when none is named."""
        watcher = Watcher(frozenset(kinds))
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def is_watched(self, kind: WatchKind) -> bool:
        """Whether anybody wants to hear of this kind."""
        return any(watcher.wants(kind) for watcher in self._watchers)

    def tell(self, kind: WatchKind, **news: Any) -> None:
        """Something happened."""
        for watcher in self._watchers:
            if watcher.wants(kind):
                watcher.hear((kind, news))
