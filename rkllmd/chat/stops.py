"""Finding stop texts in an answer that comes in pieces, and holding back what may become one. Pure.

The first stop text to be *complete* ends the answer, of several that are complete at the same
character the longest one. So the result does not depend on how the answer was cut into pieces.
"""

from collections.abc import Sequence


class StopMatcher:
    """Gives on the text that is certain not to belong to a stop text."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.matched = False
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""

    @property
    def holds(self) -> bool:
        """Whether something is held back."""
        return bool(self._held)

    def feed(self, text: str) -> str:
        """What is certain now; empty forever after a match."""
        if self.matched:
            return ""
        if not self._stops:
            return text
        text = self._held + text
        start = self._first_match(text)
        self.matched = start is not None
        if start is None:
            start = min((_open_at(text, stop) for stop in self._stops), default=len(text))
            self._held = text[start:]
        return text[:start]

    def flush(self) -> str:
        """What was held back, at the end of an answer without a stop text."""
        held, self._held = self._held, ""
        return "" if self.matched else held

    def _first_match(self, text: str) -> int | None:
        """Where the match begins that ends first."""
        starts = ((text.find(stop), len(stop)) for stop in self._stops)
        ends = [(start + length, start) for start, length in starts if start >= 0]
        return min(ends)[1] if ends else None


def _open_at(text: str, stop: str) -> int:
    """Where the longest end of the text begins that the stop text could continue."""
    start = text.find(stop[0], max(0, len(text) - len(stop) + 1))
    while start >= 0 and not stop.startswith(text[start:]):
        start = text.find(stop[0], start + 1)
    return start if start >= 0 else len(text)
