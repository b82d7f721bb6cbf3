"""Cuts an answer into sentences while it is being written, and never takes one back.

A sentence is reported as soon as its end is certain: mostly with the first letter of the next word,
which decides whether a full stop was one. However the text is cut into pieces, the sentences are
the same, since a place is judged only when everything that the judgement looks at is there.

Places, and what makes them an end:

- the marks of Chinese, Japanese, Hindi and Arabic: always, but for `」と`;
- `!`, `?`, `…` and `...`: unless a small letter follows; in quotes and brackets too;
- `.`: likewise, and not in numbers and names of hosts, nor behind initials and abbreviations;
- a line's end: unless the next line goes on with a small letter; an empty line always;
- a list within a line: before the next number, letter or bullet of it;
- the first sentence only, once it has some length: behind a comma, semicolon or colon, so that a
  voice can begin to speak.

Sentences come trimmed; apart from blanks at their edges nothing is lost.
"""

import re
from enum import Enum
from typing import Literal

from rkllmd.chat.abbreviations import rules_for

EARLY_CHARACTERS_MIN = 28
WIDE_IS_WORTH = 3
"""A character of Chinese or Japanese says about as much as three letters."""
CONTEXT_CHARACTERS = 64
"""How far back is looked for words and brackets."""
MARKER_CHARACTERS_MAX = 6
"""Of a list, with the blank before it: ` 123.)`."""

_CLOSERS = frozenset("\"'”’»›)]}*_~`」』）》】〕〉｣“«")
_OPENERS = frozenset("\"'“‘«„‹»([{¿¡*_`「『（《【")
_DASHES = ("–", "—")
_AFTER_DASH = frozenset("–— \u00a0")
_BEFORE_WORDS = "".join(_OPENERS) + "—–-•⁃‣▪"
_HARD = frozenset("。！？｡।॥؟۔")
_GOES_ON = frozenset("とっはがをにのもで")
"""What Japanese goes on with behind a closing quote."""

_BULLETS = " \t\r\n•⁃‣▪-*#"

_CLAUSE = r"(?P<clause>[,;:،؛，、；：])"
_STOPS = r"(?:[.!?…]*[。！？｡।॥؟۔][.!?…。！？｡।॥؟۔]*|[.!?…]+(?:[ \u00a0]\.)*)"
_PLACES = (
    rf"(?P<run>{_STOPS})"
    r"|(?P<line>\n)"
    r"|(?P<bullet>[•⁃‣▪])"
    r"|(?P<marker>(?<=\s)(?:\d{1,3}|[a-zA-Z])(?:\.\)|[.)])(?=\s))"
)
_ALL_PLACES = re.compile(f"{_PLACES}|{_CLAUSE}")
_LATER_PLACES = re.compile(_PLACES)
_RUN = re.compile(_STOPS)
_MARKER = re.compile(r"\s*(\d{1,3}|[a-zA-Z])(\.\)|[.)])\s")
_BLANKS = re.compile(r"\s*")
_ACRONYM = re.compile(r"(?:[^\W\d]\.-?)+[^\W\d]")
_ELIDED = re.compile(r".*['’]")
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*['’]?")
_NUMBER = re.compile(r"\d|(?:[VXLC]|[IVXLC]{2,})\b")
"""Digits, or a Roman number other than the word I."""


class _Verdict(Enum):
    NO = "no end"
    WAIT = "more has to be seen"


_Place = int | Literal[_Verdict.NO, _Verdict.WAIT]
"""Where the sentence ends, or that it does not end here, or that nobody can say yet."""


class SentenceSplitter:
    """One answer in one language, a BCP 47 tag; `early` is for the break at a clause."""

    def __init__(self, language: str | None = None, early: bool = True) -> None:  # noqa: FBT001, FBT002
        self._rules = rules_for(language)
        self._early = early
        self._text = ""
        """What was not reported yet."""
        self._judged = 0
        """Before this place in the text nothing ends."""
        self._done = 0
        """How much was fed before the text."""
        self.ends: list[int] = []
        """Where the sentences that were reported ended, in all that was fed."""

    @property
    def certain(self) -> int:
        """How much of what was fed belongs to the sentences reported, or to the one after them."""
        return self._done + self._judged

    def feed(self, text: str) -> list[str]:
        """The sentences that are certain now."""
        self._text += text
        return self._take(final=False)

    def flush(self) -> list[str]:
        """The rest, when nothing more comes."""
        sentences = self._take(final=True)
        rest = self._text.strip()
        self._drop(len(self._text))
        if rest:
            sentences.append(rest)
            self.ends.append(self._done)
        return sentences

    def _take(self, *, final: bool) -> list[str]:
        sentences = []
        while (end := self._end(final=final)) is not None:
            sentence = self._text[:end].strip()
            self._drop(end)
            if sentence:
                sentences.append(sentence)
                self.ends.append(self._done)
                self._early = False
        return sentences

    def _drop(self, end: int) -> None:
        self._text, self._judged = self._text[end:], 0
        self._done += end

    def _end(self, *, final: bool) -> int | None:
        places = _ALL_PLACES if self._early else _LATER_PLACES
        while place := places.search(self._text, self._judged):
            verdict = self._judge(place, final=final)
            if isinstance(verdict, int):
                return verdict
            if verdict is _Verdict.WAIT:
                break
            self._judged = place.end()
        seen = place.start() if place else len(self._text)
        # The begin of a list's marker has to be looked at again, with what follows it.
        self._judged = max(self._judged, seen - MARKER_CHARACTERS_MAX)
        return None

    def _judge(self, place: re.Match[str], *, final: bool) -> _Place:
        match place.lastgroup:
            case "run":
                return self._judge_run(place, final=final)
            case "line":
                return self._judge_line(place.start(), final=final)
            case "clause":
                return self._judge_clause(place.start(), final=final)
            case "marker":
                return self._judge_marker(place, final=final)
            case _:
                return place.start() if self._text[: place.start()].strip() else _Verdict.NO

    def _judge_marker(self, place: re.Match[str], *, final: bool) -> _Place:
        """A list goes on here when the sentence began with the marker before this one."""
        head = _MARKER.match(self._text)
        this = _MARKER.match(self._text, place.start())
        assert this is not None
        if head and head.end() <= place.start() and _follows(head, this):
            return place.start()
        stop = _RUN.search(self._text, place.start(), place.end())
        return self._judge_run(stop, final=final) if stop else _Verdict.NO

    def _judge_line(self, start: int, *, final: bool) -> _Place:
        following = self._after_blanks(start)
        if "\n" in self._text[start + 1 : following]:
            return following
        if following == len(self._text):
            return start + 1 if final else _Verdict.WAIT
        goes_on = self._text[following].islower() and not _MARKER.match(self._text, following)
        return _Verdict.NO if goes_on else start + 1

    def _judge_clause(self, start: int, *, final: bool) -> _Place:
        behind = self._text[start + 1 : start + 2]
        if not behind and not final:
            return _Verdict.WAIT
        if behind and not behind.isspace() and not _is_wide(self._text[start]):
            return _Verdict.NO
        said = self._text[:start].strip()[-CONTEXT_CHARACTERS:]
        weight = len(said) + (WIDE_IS_WORTH - 1) * sum(map(_is_wide, said))
        fits = weight >= EARLY_CHARACTERS_MIN and not _inside_brackets(said)
        return start + 1 if fits else _Verdict.NO

    def _judge_run(self, run: re.Match[str], *, final: bool) -> _Place:
        """Cases: the text ends here; something follows at once; a blank follows."""
        end = self._after_closers(run.end())
        if self._text[run.start() - 1 : run.start()] == "[" and self._text.startswith(
            "]", run.end()
        ):
            return _Verdict.NO  # [...], where a quote leaves something out
        if end == len(self._text):
            return end if final else _Verdict.WAIT
        if self._text[end].isspace():
            return self._judge_spaced(run, end, final=final)
        following = self._text[end]
        if not _HARD.isdisjoint(run[0]):
            quoted = end > run.end() and following in _GOES_ON
            return _Verdict.NO if quoted or self._inside_title(end) else end
        return end if run[0][-1] in "!?" and _is_wide(following) else _Verdict.NO

    def _inside_title(self, place: int) -> bool:
        """Whether the name of a Chinese book or film is open here."""
        near = self._text[max(0, place - CONTEXT_CHARACTERS) : place]
        return near.rfind("《") > near.rfind("》")

    def _judge_spaced(self, run: re.Match[str], end: int, *, final: bool) -> _Place:
        """What comes behind the blank decides."""
        word = self._after_blanks(end)
        if not _HARD.isdisjoint(run[0]) or "\n" in self._text[end:word]:
            return end
        dashed = self._text[word : word + 1] in _DASHES
        while word < len(self._text) and (
            self._text[word] in _OPENERS or (dashed and self._text[word] in _AFTER_DASH)
        ):
            word += 1
        if word == len(self._text):
            return end if final else _Verdict.WAIT
        if self._text[word].islower():
            return _Verdict.NO
        return self._judge_full_stop(run.start(), end, word, final=final) if run[0] == "." else end

    def _judge_full_stop(self, stop: int, end: int, word: int, *, final: bool) -> _Place:
        """A single full stop with a capital, a digit or the like behind it."""
        before = self._text[max(0, stop - CONTEXT_CHARACTERS) : stop].split()
        last = before.pop().lstrip(_BEFORE_WORDS) if before else ""
        key = _ELIDED.sub("", last.lower())
        if self._heads_list(stop, last) or self._never_ends(key, before):
            return _Verdict.NO
        counted = self._stands_before_numbers(key)
        ordinal = self._rules.ordinals and last.isdigit() and len(last) < 4
        name = self._may_be_name(last)
        if not (counted or ordinal or name):
            return end
        following = _WORD.match(self._text, word)
        if following and following.end() == len(self._text) and not final:
            return _Verdict.WAIT
        next_word = following[0].lower() if following else self._text[word]
        goes_on = (
            (counted and _NUMBER.match(self._text, word))
            or (ordinal and self._is_ordinal(before, next_word))
            or (name and next_word not in self._rules.starters)
        )
        return _Verdict.NO if goes_on else end

    def _heads_list(self, stop: int, last: str) -> bool:
        """Whether the sentence is no more than the marker of a list yet."""
        return self._text[:stop].strip(_BULLETS) == last and (
            len(last) == 1 or (last.isdigit() and len(last) < 4)
        )

    def _never_ends(self, key: str, before: list[str]) -> bool:
        """Whether the word before the full stop is an abbreviation that wants what follows."""
        behind_number = bool(before) and before[-1][-1].isdigit()
        return key in self._rules.never and not (behind_number and key in self._rules.final)

    def _stands_before_numbers(self, key: str) -> bool:
        rules = self._rules
        return key in rules.before_numbers or key.endswith(rules.endings_before_numbers)

    def _may_be_name(self, last: str) -> bool:
        """An initial or `U.S.`, which may end a sentence or not."""
        initial = len(last) == 1 and last.isupper()
        acronym = _ACRONYM.fullmatch(last) and last.lower() not in self._rules.final
        return initial or bool(acronym)

    def _is_ordinal(self, before: list[str], next_word: str) -> bool:
        rules = self._rules
        return (
            next_word.isdigit()
            or next_word in rules.after_ordinals
            or (bool(before) and before[-1].lower() in rules.before_ordinals)
        )

    def _after_blanks(self, place: int) -> int:
        blanks = _BLANKS.match(self._text, place)
        assert blanks is not None
        return blanks.end()

    def _after_closers(self, place: int) -> int:
        while place < len(self._text):
            character = self._text[place]
            if character in _CLOSERS or _is_emoji(character):
                place += 1
            elif character.isspace() and self._rules.closing:
                blank = self._after_blanks(place)
                if self._text[blank : blank + 1] != self._rules.closing:
                    break
                place = blank + 1
            else:
                break
        return place


def _follows(head: re.Match[str], this: re.Match[str]) -> bool:
    """Whether two markers of a list are neighbours: `1.` and `2.`, `a)` and `b)`."""
    if head[2] != this[2]:
        return False
    if head[1].isdigit() and this[1].isdigit():
        return int(this[1]) == int(head[1]) + 1
    return head[1].isalpha() and this[1].isalpha() and ord(this[1]) == ord(head[1]) + 1


def _is_wide(character: str) -> bool:
    return "\u2e80" <= character <= "\uffef" or character >= "\U00020000"


def _is_emoji(character: str) -> bool:
    return "\U0001f000" <= character <= "\U0001faff" or character in "\ufe0f\u200d"


def _inside_brackets(text: str) -> bool:
    return any(
        text.count(one) > text.count(other) for one, other in ("()", "[]", "（）", "“”", "「」")
    )
