"""An answer that ends behind so many sentences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.chat.limit import SentenceLimit
from rkllmd.chat.sentences import SentenceSplitter
from rkllmd.chat.speech import SpeechFilter
from tests.chat.sentence_cases import CASES

WORDS = [
    "It is 21.5 degrees. ", "Really? ", "Yes! ", "**Bold** one. ", "Dr. ", "Smith ", "lives ",
    "here.\n", "\n\n", "- item\n", "1. ", "\n```py\nx = 1. Then.\n```\n", "[a link](http://x.y). ",
    "| a | b |\n", "…", " and so on", "。", "你好", "\U0001f600 ", "e.g. this, ", "`code` ", "*",
]  # fmt: skip
texts = st.lists(st.sampled_from(WORDS) | st.text(max_size=4), max_size=12).map("".join)


def limited(text, most, size=None, language="en"):
    """What goes through, and whether the limit was reached."""
    limit = SentenceLimit(most, language)
    size = size or len(text) or 1
    passed = [limit.feed(text[at : at + size]) for at in range(0, len(text), size)]
    return "".join(passed) + limit.flush(), limit.reached


def sentences(text, language="en"):
    """What a voice would speak."""
    heard, splitter = SpeechFilter(), SentenceSplitter(language, early=False)
    return splitter.feed(heard.feed(text) + heard.flush()) + splitter.flush()


@pytest.mark.parametrize(
    ("text", "most", "kept"),
    [
        ("One. Two. Three.", 1, "One."),
        ("One. Two. Three.", 2, "One. Two."),
        ("One. Two. Three.", 3, "One. Two. Three."),
        ("Dr. Smith has 2.5 cats. And a dog.", 1, "Dr. Smith has 2.5 cats."),
        ("This is **bold.** *Next* one.", 1, "This is **bold.**"),
        ("See [the page](https://a.b/c). Then go.", 1, "See [the page](https://a.b/c)."),
        ("Do this:\n\n```sh\nrm x\n```\nThen that.", 1, "Do this:"),
        ("He said “No.” Then he went.", 1, "He said “No.”"),
        ("First a clause that is long, then more. Second.", 1,
         "First a clause that is long, then more."),
        ("你好。再见。", 1, "你好。"),
        ("No end at all", 1, "No end at all"),
        ("", 1, ""),
    ],
)  # fmt: skip
def test_the_answer_ends_with_a_sentence(text, most, kept):
    assert limited(text, most) == (kept, kept != text)


@given(texts, st.integers(1, 4), st.integers(1, 9))
def test_however_it_is_cut_the_same_goes_through(text, most, size):
    assert limited(text, most, size) == limited(text, most)


@given(texts, st.integers(1, 4))
def test_what_goes_through_is_the_beginning_with_its_sentences(text, most):
    kept, reached = limited(text, most)
    assert text.startswith(kept)
    if reached:
        assert sentences(kept) == sentences(text)[:most]
    else:
        assert kept == text
        assert len(sentences(text)) <= most


@pytest.mark.parametrize("language", sorted({case[0] for case in CASES}))
def test_every_written_case_ends_behind_its_first_sentence(language):
    for tag, text, expected in CASES:
        if tag == language:
            kept, _ = limited(text, 1, 3, tag)
            assert "".join(sentences(kept, tag)[:1]) == "".join(sentences(text, tag)[:1]), expected


@given(st.lists(st.sampled_from(WORDS), max_size=12).map("".join))
def test_a_sentence_passes_before_the_answer_ends(text):
    limit = SentenceLimit(99, "en")
    limit.feed(f"{text} This is long enough. And another one follows")
    assert sum(len(piece.written) for piece in limit._held) < 40
