"""From the engine's bytes to an answer's text: whole characters, no stop text. Pure."""

import codecs
from collections.abc import Sequence

from rkllmd.chat.stops import StopMatcher

_UTF8 = codecs.getincrementaldecoder("utf-8")


class AnswerText:
    """Takes a run's bytes as they come; bytes that are no UTF-8 become U+FFFD."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._decoder = _UTF8(errors="replace")
        self._stops = StopMatcher(stops)

    @property
    def stopped(self) -> bool:
        """Whether a stop text was found: nothing more belongs to the answer."""
        return self._stops.matched

    @property
    def whole(self) -> bool:
        """Whether everything so far was given on: no character is cut, no stop text may begin."""
        return not self._decoder.getstate()[0] and not self._stops.holds

    def feed(self, data: bytes) -> str:
        """The text that is certain now."""
        return self._stops.feed(self._decoder.decode(data))

    def finish(self) -> str:
        """The rest."""
        return self._stops.feed(self._decoder.decode(b"", final=True)) + self._stops.flush()
