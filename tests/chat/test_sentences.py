"""Sentences end where they should, in every language, however the text arrives."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.chat.abbreviations import RULES
from rkllmd.chat.sentences import SentenceSplitter
from tests.chat.sentence_cases import CASES


def split(pieces, language="en", early=False):
    splitter = SentenceSplitter(language, early)
    said = [sentence for piece in pieces for sentence in splitter.feed(piece)]
    return said + splitter.flush()


@pytest.mark.parametrize(("language", "text", "sentences"), CASES)
def test_written_cases(language, text, sentences):
    assert split([text], language) == sentences
    assert split(text, language) == sentences


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("language", sorted(RULES))
def test_a_whole_page_of_cases(language, early):
    texts = [text for spoken, text, _ in CASES if spoken == language]
    page = "\n\n".join(texts)
    whole = split([page], language, early)
    assert split(page, language, early) == whole
    if not early:
        assert whole == [s for spoken, _, ss in CASES if spoken == language for s in ss]


pieces = st.lists(
    st.sampled_from([
        "Hello", "he", "No", "Dr", "U", "S", "p", "I", "V", "Very", "am", "3", "12", "1", "2", "A",
        "b", "ist", "Der", "usw", "e.g", "г", "Он", "мм", "好", "と", "नमस्ते", "نعم", ".", ".",
        ".", "..", "…", "!", "?", "。", "！", "।", "؟", ",", ";", ":", "、", ")", "(", "[", "]",
        '"', "“", "”", "«", "»", "」", "「", "*", "'", "-", "•", "😀", "\ufe0f", " ", " ", " ",
        " ", "\n", "\n\n", "\u00a0", "\t",
    ]),
    max_size=25,
).map("".join)  # fmt: skip
languages = st.sampled_from([*sorted(RULES), "xx", None])


@given(pieces, languages, st.booleans(), st.lists(st.integers(0, 80)))
def test_any_cut_gives_the_same_sentences(text, language, early, cuts):
    whole = split([text], language, early)
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    assert split([text[a:b] for a, b in pairwise(edges)], language, early) == whole
    assert split(text, language, early) == whole


@given(st.one_of(pieces, st.text()), languages, st.booleans())
def test_nothing_is_lost_but_blanks_between_sentences(text, language, early):
    sentences = split([text], language, early)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence == sentence.strip() != "" for sentence in sentences)
    rest = text
    for sentence in sentences:
        rest = rest.lstrip()
        assert rest.startswith(sentence)
        rest = rest.removeprefix(sentence)


@given(pieces, pieces, languages)
def test_what_was_reported_is_never_taken_back(text, more, language):
    splitter = SentenceSplitter(language)
    reported = splitter.feed(text)
    whole = split([text + more], language, early=True)
    assert whole[: len(reported)] == reported


EARLY = [
    ("en", "The lamp in the kitchen is on now,", "and the fan is off.", "Good."),
    ("en", "The lamp (in the kitchen, that is) is on,", "and the fan is off."),
    ("en", "The population of Paris is 2,102,650,", "as of this year."),
    ("en", "Yes, it is so.", "Good, then."),
    ("de", "Das Licht in der Küche ist jetzt an;", "der Lüfter ist aus."),
    ("zh", "厨房里的灯现在已经打开了，", "风扇关着。"),
    ("ja", "台所の電気は今ついています、", "扇風機は止まっています。"),
    ("ar", "الضوء في المطبخ مضاء الآن بالفعل،", "والمروحة مطفأة."),
]


@pytest.mark.parametrize(("language", "sentences"), [(first, rest) for first, *rest in EARLY])
def test_the_first_sentence_may_end_at_a_clause(language, sentences):
    text = ("" if language in {"zh", "ja"} else " ").join(sentences)
    assert split([text], language, early=True) == sentences


def test_only_the_first_sentence_ends_early():
    text = "It is on now. The lamp in the kitchen is on now, and the fan is off."
    assert len(split([text], "en", True)) == 2


def test_a_sentence_is_told_with_the_first_letter_of_the_next():
    splitter = SentenceSplitter("en")
    assert splitter.feed("It is noon.") == []
    assert splitter.feed(" ") == []
    assert splitter.feed("T") == ["It is noon."]
    assert SentenceSplitter("zh").feed("你好。我") == ["你好。"]
    assert SentenceSplitter("en").feed("Done.\n\n") == ["Done."]


def test_an_unknown_language_is_split_all_the_same():
    assert split(["Dr. No kom. Ja."], "sv-SE") == ["Dr. No kom.", "Ja."]
    assert split(["Am 3. Mai. Ja."], "de_AT") == ["Am 3. Mai.", "Ja."]


def test_a_splitter_is_empty_after_its_flush():
    splitter = SentenceSplitter("en")
    splitter.feed("Hello")
    assert splitter.flush() == ["Hello"]
    assert splitter.flush() == []


def test_a_very_long_answer_without_an_end_is_kept_whole():
    splitter = SentenceSplitter("en")
    said = [sentence for _ in range(20_000) for sentence in splitter.feed("word, ")]
    assert len(said) == 1
    assert len(splitter.flush()[0]) == 20_000 * len("word, ") - len(said[0]) - 2
