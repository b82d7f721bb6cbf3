"""What cannot be spoken goes, every word stays, and the cut of the text does not matter."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.chat.speech import TOKEN_CHARACTERS_MAX, SpeechFilter


def spoken(pieces):
    speech = SpeechFilter()
    return "".join(speech.feed(piece) for piece in pieces) + speech.flush()


CASES = [
    ("Hello there.", "Hello there."),
    ("It is **very** *cold* and ***dark***.", "It is very cold and dark."),
    ("It is __very__ _cold_.", "It is very cold."),
    ("~~Gone~~ and ~5 left", "Gone and ~5 left"),
    ("5 * 3 is 15, 2*3 is 6", "5 * 3 is 15, 2*3 is 6"),
    ("a_long_name and _one_", "a_long_name and one"),
    ("# Title\n\nText", "Title\n\nText"),
    ("###### Title", "Title"),
    ("#tag and C# and #1", "#tag and C# and #1"),
    ("- one\n- two\n* three\n+ four\n• five", "one\ntwo\nthree\nfour\nfive"),
    ("  - deep\n    - deeper", "deep\ndeeper"),
    ("- [ ] open\n- [x] done", "open\ndone"),
    ("1. first\n2. second", "1. first\n2. second"),
    ("-5 degrees", "-5 degrees"),
    ("> quoted\n>> twice", "quoted\ntwice"),
    ("above\n\n---\n\nbelow", "above\n\nbelow"),
    ("Title\n=====\nText", "Title\nText"),
    ("* * *\nText", "Text"),
    ("**", "**"),
    ("Use `ls -l` now", "Use ls -l now"),
    ("Look:\n```python\nprint('x')\n```\nDone", "Look:\nDone"),
    ("```\nplain   words\n```\nDone", "plain words\nDone"),
    ("~~~sh\nls\n~~~\nDone", "Done"),
    ("```python\nnever closed", ""),
    ("See [the page](https://example.com/a_(b)).", "See the page."),
    ('See [*the* page](x "title").', "See the page."),
    ("![A cat](cat.png) sleeps", "A cat sleeps"),
    ("![](cat.png)Sleeps", "Sleeps"),
    ("[no link] and [broken](never", "[no link] and [broken](never"),
    ("A fact[^1].\n[^1]: The source", "A fact.\nThe source"),
    ("Open https://www.example.com/a?b=c.", "Open example.com."),
    ("Open www.example.com, then go", "Open example.com, then go"),
    ("Open <https://example.com/x> now", "Open example.com now"),
    ("http is a protocol, w is a letter", "http is a protocol, w is a letter"),
    ("<b>bold</b> a<br>b <br/>c", "bold a\nb\nc"),
    ("a < b and c > d, 1<2", "a < b and c > d, 1<2"),
    ("| a | b |\n|---|:-:|\n| 1 | **2** |\nend", "a, b.\n1, 2.\nend"),
    ("| Is it? |", "Is it?\n"),
    ("Great 😀! 👍🏽 Let us 🇩🇪 go ✅", "Great! Let us go"),
    ("😀", ""),
    ("5 \\* 3 \\_x\\_ \\n", "5 * 3 _x_ \\n"),
    ("zero\u200bwidth soft\u00adhyphen", "zerowidth softhyphen"),
    ("too   many\t blanks \n here", "too many blanks\nhere"),
    ("\n\n\nlines\n\n\n\nof air\n", "lines\n\nof air\n"),
    ("20 °C, 50 %, 3 € & more", "20 °C, 50 %, 3 € & more"),
    ("« Bonjour » dit-il", "« Bonjour » dit-il"),
    ("今天**很好**。", "今天很好。"),
    ("!", "!"),
    ("Wow![1]", "Wow![1]"),
    ("", ""),
]


@pytest.mark.parametrize(("written", "said"), CASES)
def test_cases(written, said):
    assert spoken([written]) == said
    assert spoken(written) == said


@pytest.mark.parametrize(("written", "_"), CASES)
def test_what_was_spoken_is_clean(written, _):
    once = spoken([written])
    if "[" not in once and "\\" not in written and "_x_" not in once:
        assert spoken([once]) == once


marks = st.lists(
    st.sampled_from([
        "word", "two words", "h", "htt", "https://", "www.", "a.b/c", "w", "5", "*", "**", "_", "~",
        "~~", "`", "```", "```sh", "#", "##", "-", "- ", "---", "+", "•", ">", "|", "|-", "[", "]",
        "(", ")", "](", "![", "[^", "[x]", "[ ]", "<", "</", ">", "<b>", "<br>", "!", ".", ",", "=",
        "\\", "===", "😀", "\ufe0f", "\u200b", " ", " ", " ", "\t", "\n", "\n", "\n\n", "é", "好",
    ]),
    max_size=25,
).map("".join)  # fmt: skip


@given(marks, st.lists(st.integers(0, 120)))
def test_any_cut_says_the_same(written, cuts):
    whole = spoken([written])
    edges = sorted({0, len(written), *(cut for cut in cuts if cut < len(written))})
    assert spoken([written[a:b] for a, b in pairwise(edges)]) == whole
    assert spoken(written) == whole


@given(st.text(alphabet="abcé好.,;?: \n5", max_size=80).filter(lambda text: "\n" not in text[:1]))
def test_what_can_be_spoken_is_left_alone_but_for_blanks(written):
    assert spoken(written).split() == written.split()


@given(marks)
def test_nothing_is_said_that_was_not_written(written):
    said = spoken(written)
    rest = iter(written)
    if "|" not in written and "<" not in written:
        assert all(c in rest for c in said if not c.isspace())
    assert "  " not in said
    assert "\n\n\n" not in said
    assert "😀" not in said


def test_words_are_said_as_they_come():
    speech = SpeechFilter()
    assert speech.feed("Hello") == "Hello"
    assert speech.feed(" wor") == " wor"
    assert speech.feed("ld **and") == "ld and"
    assert speech.feed("**") == ""
    assert speech.feed(" then.") == " then."


@pytest.mark.parametrize(
    "opening", ["[", "<a", "| ", "https://", "![x](", "`", "- [", "*", "\\", "("]
)
def test_what_never_closes_is_let_through(opening):
    written = opening + "x" * (TOKEN_CHARACTERS_MAX * 2)
    said = spoken([written])
    assert spoken(written) == said
    assert said.count("x") >= TOKEN_CHARACTERS_MAX
