"""Takes out of an answer what cannot be spoken, while it is being written.

Removed are the marks of Markdown (emphasis, headings, lists, quotes, rules, code, tables, links,
images, footnotes), HTML tags, emoji and characters without width. Kept are the words: a link's
text, an image's description, the cells of a table as a list, a bare address as its host. Code in a
fence is left out, unless the fence says that it is plain text. Blanks become one, empty lines at
most one.

The text is taken token by token from its head; a token is taken when everything that decides about
it is there, so however the text is cut, the same comes out. What opens and never closes is text.
"""

import re
import string
from collections.abc import Iterator
from enum import Enum

TOKEN_CHARACTERS_MAX = 2000
"""What opens and is not closed within these is no link, tag, table row or address."""

_PLAIN_FENCES = frozenset({"", "text", "txt", "plain", "plaintext", "markdown", "md"})

_HEADING = re.compile(r"#{1,6}[ \t]")
_BULLET = re.compile(r"[-+*•‣▪◦][ \t]+(?:\[[ xX]\][ \t])?")
_BULLET_BEGUN = re.compile(r"[-+*•‣▪◦](?:[ \t]+(?:\[(?:[ xX]\]?)?)?)?")
_RULE = re.compile(r"(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,}|={3,}[ \t]*")
_RULE_BEGUN = re.compile(r"[-*_= \t]+")
_FENCE = re.compile(r"(?:`{3,}|~{3,})[ \t]*(\w*)")
_TABLE_RULE = re.compile(r"[\s|:-]*")
_LINK = re.compile(r"!?\[([^\[\]\n]*)\]\((?:[^()\n]|\([^()\n]*\))*\)")
_LINK_BEGUN = re.compile(r"!?\[[^\[\]\n]*(?:\](?:\([^\n]*)?)?")
_FOOTNOTE = re.compile(r"\[\^[^\[\]\n]*\]:?")
_TAG = re.compile(r"</?([A-Za-z!][^<>\n]*)>")
_TAG_BEGUN = re.compile(r"</?(?:[A-Za-z!][^<>\n]*)?")
_LINE_TAG = re.compile(r"(?:br|p|li|div|tr|hr)\b", re.I)
_MARKS = re.compile(r"\*+|_+|~+")
_WORD = re.compile(r"[^\W_]+")
_ADDRESS_CHARACTERS = re.compile(r"[^\s<>()\[\]*`\"]*")
_ADDRESS = re.compile(
    r"(?:https?://(?:www\.)?|www\.)([^/?#:\s.,;!]+(?:\.[^/?#:\s.,;!]+)*)"
    r"(?:[/?#:]\S*[^\s.,;:!?]|/)?",
    re.IGNORECASE,
)
_ADDRESS_HEADS = ("https://", "http://", "www.")
_UNSPOKEN = re.compile(
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b50\u2b55\u2190-\u21ff\u231a-\u23ff\u25a0-\u25ff"
    "\ufe0f\u200b\u200d\u2060\ufeff\u00ad\u20e3\U000e0000-\U000e007f]"
)

WAIT = 0
"""Nothing of the text can be taken yet."""


class _Code(Enum):
    NONE = "no code"
    DROPPED = "code that is left out"
    KEPT = "a fence around plain text"


class SpeechFilter:
    """Reads one answer."""

    def __init__(self) -> None:
        self._text = ""
        self._said: list[str] = []
        self._code = _Code.NONE
        self._at_line_start = True
        self._before = "\n"
        """The character before the text, as it was written."""
        self._blank = False
        """A blank waits for something to stand before."""
        self._emoji = False
        """An emoji was taken out since that blank."""
        self._lines_ended = 2
        """Line ends since something was said; as if there had been some, for the first line."""

    def feed(self, text: str) -> str:
        """What can be spoken now."""
        return "".join([said for _, said in self.read(text)])

    def flush(self) -> str:
        """The rest, when nothing more comes."""
        return "".join([said for _, said in self.read("", final=True)])

    def read(self, text: str, *, final: bool = False) -> Iterator[tuple[str, str]]:
        """Read on, token by token: what is written, and what of it can be spoken."""
        self._text += text
        while self._text:
            taken = self._token(final=final)
            if taken == WAIT:
                break
            written, self._text = self._text[:taken], self._text[taken:]
            self._before = written[-1]
            said, self._said = "".join(self._said), []
            yield written, said

    def _token(self, *, final: bool) -> int:
        """Take one token; how long it is."""
        if self._code is not _Code.NONE:
            return self._take_code(final=final)
        if self._at_line_start:
            taken = self._take_line_head(final=final)
            if taken is not None:
                return taken
            self._at_line_start = False
        return self._take_inline(final=final)

    # The head of a line. None: it has no mark there.

    def _take_line_head(self, *, final: bool) -> int | None:
        match self._text[0]:
            case " " | "\t" | ">":
                return 1
            case "#":
                return self._take_heading(final=final)
            case "`" | "~":
                return self._take_fence(final=final)
            case "|":
                return self._take_row(final=final)
            case "-" | "+" | "*" | "_" | "=" | "•" | "‣" | "▪" | "◦":
                return self._take_rule_or_bullet(final=final)
            case _:
                return None

    def _take_heading(self, *, final: bool) -> int | None:
        mark = _HEADING.match(self._text)
        if mark:
            self._at_line_start = False
            return mark.end()
        return WAIT if not final and self._text in "######" else None

    def _take_fence(self, *, final: bool) -> int | None:
        if not final and self._text in {"`", "``", "~", "~~"}:
            return WAIT
        fence = _FENCE.match(self._text)
        if fence is None:
            return None
        end = self._line_end(final=final)
        if end:
            plain = fence[1].lower() in _PLAIN_FENCES
            self._code = _Code.KEPT if plain else _Code.DROPPED
        return end

    def _take_code(self, *, final: bool) -> int:
        end = self._text.find("\n") + 1 or (len(self._text) if final else WAIT)
        line = self._text[:end].strip()
        if line.startswith(("```", "~~~")):
            self._code = _Code.NONE
            self._at_line_start = True
        elif self._code is _Code.KEPT and end:
            self._say(" ".join(line.split()))
            self._end_line()
        return end

    def _take_row(self, *, final: bool) -> int | None:
        end = self._line_end(final=final)
        row = self._text[: end or 0]
        if end and not _TABLE_RULE.fullmatch(row):
            cells = [_cleaned(cell) for cell in row.strip().strip("|").split("|")]
            spoken = ", ".join(cell for cell in cells if cell)
            self._say(spoken if spoken.endswith((".", "!", "?")) else f"{spoken}.")
            self._end_line()
        return end

    def _take_rule_or_bullet(self, *, final: bool) -> int | None:
        ended = final or len(self._text) >= TOKEN_CHARACTERS_MAX
        head = self._text[:TOKEN_CHARACTERS_MAX]
        if not ended and (_RULE_BEGUN.fullmatch(head) or _BULLET_BEGUN.fullmatch(head)):
            return WAIT
        line = head.split("\n", 1)[0]
        if _RULE.fullmatch(line):
            return min(len(line) + 1, len(self._text))
        bullet = _BULLET.match(head)
        if bullet is None:
            return None
        self._at_line_start = False
        return bullet.end()

    def _line_end(self, *, final: bool) -> int | None:
        """Behind the line's end; None when it is too far away."""
        end = self._text.find("\n", 0, TOKEN_CHARACTERS_MAX) + 1
        if end:
            return end
        if len(self._text) >= TOKEN_CHARACTERS_MAX:
            return None
        return len(self._text) if final else WAIT

    # Within a line.

    def _take_inline(self, *, final: bool) -> int:
        character = self._text[0]
        match character:
            case "[" | "!":
                return self._take_link(final=final)
            case "<":
                return self._take_tag(final=final)
            case "*" | "_" | "~":
                return self._take_marks(final=final)
            case "\\":
                return self._take_escaped(final=final)
        if character == "\n":
            self._end_line()
        elif character.isspace():
            self._blank = True
        elif _UNSPOKEN.match(character):
            self._emoji = True
        elif character != "`":
            return self._take_word(final=final)
        return 1

    def _take_link(self, *, final: bool) -> int:
        head = self._text[:TOKEN_CHARACTERS_MAX]
        ended = final or len(self._text) >= TOKEN_CHARACTERS_MAX
        footnote = _FOOTNOTE.match(head)
        if footnote:
            return WAIT if footnote.end() == len(head) and not ended else footnote.end()
        link = _LINK.match(head)
        if link:
            self._say(_cleaned(link[1]))
            return link.end()
        if not ended and (head == "!" or _LINK_BEGUN.fullmatch(head)):
            return WAIT
        self._say(head[0])
        return 1

    def _take_tag(self, *, final: bool) -> int:
        head = self._text[:TOKEN_CHARACTERS_MAX]
        tag = _TAG.match(head)
        if tag:
            address = _ADDRESS.match(tag[1])
            if address:
                self._say(address[1])
            elif _LINE_TAG.match(tag[1]):
                self._end_line()
            return tag.end()
        ended = final or len(self._text) >= TOKEN_CHARACTERS_MAX
        if not ended and _TAG_BEGUN.fullmatch(head):
            return WAIT
        self._say("<")
        return 1

    def _take_marks(self, *, final: bool) -> int:
        marks = _MARKS.match(self._text)
        assert marks is not None
        if marks.end() == len(self._text) and not final:
            return WAIT
        if not _is_emphasis(marks[0], self._before, self._text[marks.end() : marks.end() + 1]):
            self._say(marks[0])
        return marks.end()

    def _take_escaped(self, *, final: bool) -> int:
        if len(self._text) == 1 and not final:
            return WAIT
        if self._text[1:2] and self._text[1] in string.punctuation:
            self._say(self._text[1])
            return 2
        self._say("\\")
        return 1

    def _take_word(self, *, final: bool) -> int:
        if not self._before.isalnum() and self._text[0] in "hHwW":
            taken = self._take_address(final=final)
            if taken is not None:
                return taken
        word = _WORD.match(self._text)
        end = word.end() if word else 1
        self._say(self._text[:end])
        return end

    def _take_address(self, *, final: bool) -> int | None:
        head = self._text[:TOKEN_CHARACTERS_MAX]
        run = _ADDRESS_CHARACTERS.match(head)
        assert run is not None
        written = run[0].lower()
        if not any(one.startswith(written) or written.startswith(one) for one in _ADDRESS_HEADS):
            return None
        if run.end() == len(head) and not final and len(head) < TOKEN_CHARACTERS_MAX:
            return WAIT
        address = _ADDRESS.match(run[0])
        if address is None:
            return None
        self._say(address[1])
        return address.end()

    def _say(self, text: str) -> None:
        text = _UNSPOKEN.sub("", text)
        if not text:
            return
        joined = self._emoji and text[0] in ".,;:!?…"
        if self._blank and not self._lines_ended and not joined:
            self._said.append(" ")
        self._said.append(text)
        self._blank = self._emoji = False
        self._lines_ended = 0

    def _end_line(self) -> None:
        if self._lines_ended < 2:
            self._said.append("\n")
        self._lines_ended += 1
        self._blank = self._emoji = False
        self._at_line_start = True


def _is_emphasis(marks: str, before: str, behind: str) -> bool:
    """Whether the marks stand at a word: not in `5 * 3`, `2*3`, `a_name` and `~5`."""
    if (before.isspace() or not before) and (behind.isspace() or not behind):
        return False
    if marks[0] == "~":
        return len(marks) > 1
    if marks[0] == "_":
        return not (before.isalnum() and behind.isalnum())
    return not (before.isdigit() and behind.isdigit())


def _cleaned(text: str) -> str:
    """A part of the answer by itself, on one line."""
    part = SpeechFilter()
    return " ".join((part.feed(text) + part.flush()).split())
