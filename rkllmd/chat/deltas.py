"""Cuts spoken text into deltas as speech clients want them.

They wait for a delta that is nothing but `.`, `!` or `?` to know that a sentence is complete, and
read numbers as they come. So a sentence's terminator is a delta of its own, a number such as `21.5`
or `10:30` is never cut, and an answer without punctuation at its end gets a line's end. A full stop
within a word, behind an abbreviation or an initial stays with its word.
"""

import re

from rkllmd.chat.abbreviations import rules_for

_TERMINATORS = re.compile(r"[.!?…。！？।؟۔]+")
_ENDINGS = ".!?…。！？।؟۔:;\n"
_CLOSERS = " \t\"'”’»)]」』"
_LAST_WORD = re.compile(r"[^\s(\"'“‘«„]*$")
WORD_CHARACTERS = 24
"""How much of the text behind us an abbreviation can reach into."""


class SpeechDeltas:
    """One answer in one language, a BCP 47 tag; it reads what `SpeechFilter` let through."""

    def __init__(self, language: str | None = None) -> None:
        self._rules = rules_for(language)
        self._held = ""
        self._told = ""
        """The end of what was told."""

    def feed(self, text: str) -> list[str]:
        """The deltas that are certain now; none is empty."""
        self._held += text
        return self._take(final=False)

    def flush(self) -> list[str]:
        """The rest, and a line's end where nothing else ends the answer."""
        deltas = self._take(final=True)
        said = self._told.rstrip(_CLOSERS)
        return [*deltas, "\n"] if said and said[-1] not in _ENDINGS else deltas

    def _take(self, *, final: bool) -> list[str]:
        deltas = []
        place = 0
        while stop := _TERMINATORS.search(self._held, place):
            ends = self._ends_sentence(stop)
            if ends is None and not final:
                break
            place = stop.end()
            if ends is not False:
                deltas += [self._held[: stop.start()], stop[0]]
                self._tell(place)
                place = 0
        end = len(self._held) if final else self._certain(stop)
        deltas.append(self._held[:end])
        self._tell(end)
        return [delta for delta in deltas if delta]

    def _ends_sentence(self, stop: re.Match[str]) -> bool | None:
        """None when what follows has to be seen."""
        behind = self._held[stop.end() :]
        if stop[0] != "." or not behind:
            return True if behind else None
        if not (behind[0].isspace() or behind[0] in _CLOSERS):
            return False
        near = self._held[max(0, stop.start() - WORD_CHARACTERS) : stop.start()]
        last = _LAST_WORD.search((self._told + near)[-WORD_CHARACTERS:])
        assert last is not None
        word = last[0].lower()
        if word in self._rules.before_numbers:
            following = behind.lstrip()
            return not following[0].isdigit() if following else None
        initial = len(word) == 1 and last[0].isupper()
        return not initial and word not in self._rules.never

    def _certain(self, stop: re.Match[str] | None) -> int:
        """Up to where nothing can become part of a number or a terminator."""
        end = stop.start() if stop else len(self._held)
        number = len(self._held[:end].rstrip("0123456789.,:"))
        return number if any(map(str.isdigit, self._held[number:end])) else end

    def _tell(self, end: int) -> None:
        self._told = (self._told + self._held[:end])[-WORD_CHARACTERS:]
        self._held = self._held[end:]
