"""Ends an answer behind so many sentences, while it is being written. Pure.

The answer goes through as the model wrote it, Markdown and all, as far as it is certain to belong
to the sentences that are wanted. They are counted as a voice would speak them: by a splitter of its
own, without the early break, behind a filter of its own, which says for each token how
much of it is spoken: so a place in the spoken text is known in the written one.
"""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from rkllmd.chat.sentences import SentenceSplitter
from rkllmd.chat.speech import SpeechFilter


class _Piece(NamedTuple):
    """A part of the written text, and where in the spoken text it stands."""

    written: str
    start: int
    end: int


class SentenceLimit:
    """One answer in one language, a BCP 47 tag."""

    def __init__(self, sentences_max: int, language: str | None = None) -> None:
        self.reached = False
        """Whether the last sentence is complete and something follows it, which is left out."""
        self._sentences_max = sentences_max
        self._filter = SpeechFilter()
        self._splitter = SentenceSplitter(language, early=False)
        self._spoken = 0
        """How long the spoken text is."""
        self._held: deque[_Piece] = deque()

    def feed(self, text: str) -> str:
        """What is certain now; empty forever once the limit is reached."""
        passed = []
        for character in text:
            if self.reached:
                break
            self._take(self._filter.read(character))
            self.reached = len(self._splitter.ends) >= self._sentences_max
            passed.append(self._release(self._splitter.certain))
        return "".join(passed)

    def flush(self) -> str:
        """The rest, when nothing more comes."""
        if self.reached:
            return ""
        self._take(self._filter.read("", final=True))
        self._splitter.flush()
        self.reached = len(self._splitter.ends) > self._sentences_max
        return self._release(self._spoken)

    def _take(self, tokens: Iterable[tuple[str, str]]) -> None:
        for written, said in tokens:
            self._splitter.feed(said)
            self._spoken += len(said)
            start = self._spoken - len(said.lstrip(" "))
            # Where nothing was taken out a sentence may end within.
            pieces = written if said.endswith(written) else [written]
            for place, piece in enumerate(pieces, start):
                end = self._spoken if pieces is not written else place + 1
                self._held.append(_Piece(piece, place, end))

    def _release(self, certain: int) -> str:
        """What was held and is certain; once the limit is reached, what belongs to the end too."""
        passed = ""
        if not self.reached:
            while self._held and self._held[0].end <= certain:
                passed += self._held.popleft().written
            return passed
        limit = self._splitter.ends[self._sentences_max - 1]
        for piece in self._held:
            # Behind the end only what closes it: `**`, and not the blank and what follows.
            if piece.start >= limit and (piece.end > piece.start or piece.written.isspace()):
                break
            passed += piece.written
        return passed.rstrip()
