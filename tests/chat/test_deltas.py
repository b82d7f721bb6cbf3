"""Deltas are cut as speech clients want them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.chat.deltas import SpeechDeltas


def cut(pieces, language="en"):
    deltas = SpeechDeltas(language)
    return [delta for piece in pieces for delta in deltas.feed(piece)] + deltas.flush()


CASES = [
    ("en", "Hello. It is 21.5 degrees!", ["Hello", ".", " It is 21.5 degrees", "!"]),
    ("en", "Really?! Yes", ["Really", "?!", " Yes", "\n"]),
    ("en", "Dr. No is here.", ["Dr. No is here", "."]),
    ("en", "J. R. Smith, e.g. him.", ["J. R. Smith, e.g. him", "."]),
    ("en", "See a.txt.", ["See a.txt", "."]),
    ("en", 'He said "No." Then', ['He said "No', ".", '" Then', "\n"]),
    ("en", "It is 5.", ["It is ", "5", "."]),
    ("en", "A list:", ["A list:"]),
    ("en", "Done.\n", ["Done", ".", "\n"]),
    ("en", "Done)", ["Done)", "\n"]),
    ("de", "Nr. 5 ist frei.", ["Nr. 5 ist frei", "."]),
    ("zh", "你好。好！", ["你好", "。", "好", "！"]),
    ("en", "", []),
    ("en", " ", [" "]),
]


@pytest.mark.parametrize(("language", "said", "deltas"), CASES)
def test_cases(language, said, deltas):
    assert cut([said], language) == deltas


def test_numbers_are_whole_however_they_come():
    assert cut(["It is 2", "1", ".", "5", " and 10", ":", "30 now"]) == [
        "It is ", "21.5 and ", "10:30 now", "\n",
    ]  # fmt: skip


texts = st.lists(
    st.sampled_from(
        ["Hello", "Dr", "5", "21", ".", "..", "!", "?", ",", ":", " ", "\n", '"', "。", "a"]
    )
).map("".join)


@given(texts, st.lists(st.integers(0, 60)), st.sampled_from(["en", "de", None]))
def test_any_cut_keeps_terminators_and_numbers(said, cuts, language):
    edges = sorted({0, len(said), *(place for place in cuts if place < len(said))})
    whole = cut([said], language)
    parts = cut([said[a:b] for a, b in pairwise(edges)], language)
    assert "".join(parts) == "".join(whole)
    assert "".join(parts).removesuffix("\n") == said.removesuffix("\n")

    def terminators(deltas):
        return [delta for delta in deltas if delta.strip(".!?。") == ""]

    assert terminators(parts) == terminators(whole)
    assert all(not (one[-1:].isdigit() and other[:1].isdigit()) for one, other in pairwise(parts))
