"""Collects one run's events: passes the text on, decides when it has to end, counts tokens.

One event is one sampled token, but for rows of embeddings and for FINISH. A token whose bytes are
only a part of a character comes as WAITING; on 1.3.1 without text, and the whole character comes
with the next token. Other releases may send the part, and then either the rest or the whole; all
three are understood. The end-of-turn token comes as an empty text where it is hidden (1.3.1).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rkllmd.engine.contract import OnPiece, ShouldStop
from rkllmd.native.handle import Event, Perf, Rows
from rkllmd.native.rkllm import CallState
from rkllmd.runs import EndReason


@dataclass(slots=True)
class Answer:
    """What a run has said so far."""

    tokens_max: int
    on_piece: OnPiece
    should_stop: ShouldStop
    abort: Callable[[], None]
    sampled: int = 0
    kept: bytearray = field(default_factory=bytearray)
    """The text of every token but the last sampled one, from which nothing was computed."""
    rows: Rows | None = None
    perf: Perf | None = None
    failed: bool = False
    ending: EndReason | None = None
    """Why it was aborted; None where the runtime ended it."""
    first_at: float | None = None
    _part: bytes = b""
    _last: bytes = b""
    _may_be_end: bool = False
    _said: int = 0

    def on_event(self, event: Event) -> None:
        """Take one event."""
        if self.first_at is None:
            self.first_at = time.monotonic()
        match event.state:
            case CallState.FINISH:
                self.perf = event.perf
            case CallState.ERROR:
                self.failed = True
            case _ if event.rows is not None:
                self.rows = event.rows
                self.stop("length")
            case _ if self.ending is None:
                self._on_token(event)

    def stop(self, ending: EndReason) -> None:
        """Have the run end; what comes until it does is dropped."""
        self.ending = ending
        self.abort()

    @property
    def generated(self) -> int:
        """Tokens of the answer, so not the one that ended the turn."""
        return max(0, self._said - (self.ending is None and self._may_be_end))

    @property
    def reason(self) -> EndReason:
        """Why the run ended."""
        if self.ending is not None:
            return self.ending
        return "length" if self.generated >= self.tokens_max else "stop"

    def _on_token(self, event: Event) -> None:
        self.sampled += 1
        self._may_be_end = event.state is CallState.NORMAL and not event.text
        self.kept += self._last
        self._last = b""
        if self._said < self.tokens_max:
            self._say(event)
        elif not self._may_be_end:
            self.stop("length")
            return
        # What may be the end of the turn is followed by FINISH, or by a token that asks again.
        if self._may_be_end:
            return
        if self.should_stop():
            self.stop("cancelled")
        elif self._said >= self.tokens_max:
            self.stop("length")

    def _say(self, event: Event) -> None:
        self._said += 1
        self._last = self._whole(event)
        if self._last:
            self.on_piece(self._last)

    def _whole(self, event: Event) -> bytes:
        if event.state is CallState.WAITING:
            self._part += event.text
            return b""
        part, self._part = self._part, b""
        return event.text if event.text.startswith(part) else part + event.text
