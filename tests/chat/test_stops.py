"""Stop texts in answers that come in pieces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.chat.stops import StopMatcher


def feed(stops, parts):
    matcher = StopMatcher(stops)
    fed = [matcher.feed(part) for part in parts]
    return "".join(fed), matcher.flush(), matcher.matched


def expected(stops, text):
    """The answer and whether a stop text ended it, by looking at every beginning of the text."""
    for end in range(len(text) + 1):
        ending = [stop for stop in stops if stop and text[:end].endswith(stop)]
        if ending:
            return text[: end - len(max(ending, key=len))], True
    return text, False


letters = st.text("ab ", max_size=5)


@given(st.lists(letters, max_size=4), st.lists(letters, max_size=12))
def test_the_result_does_not_depend_on_the_cuts(stops, parts):
    certain, rest, matched = feed(stops, parts)
    assert (certain + rest, matched) == expected(stops, "".join(parts))


@given(st.lists(letters.filter(bool), max_size=4), st.lists(letters, max_size=12))
def test_only_what_may_become_a_stop_text_is_held_back(stops, parts):
    _, rest, matched = feed(stops, parts)
    if rest:
        assert not matched
        assert any(stop.startswith(rest) for stop in stops)


@pytest.mark.parametrize(
    ("stops", "parts", "answer"),
    [
        (("abcd", "bc"), ("a", "b", "c", "d"), "a"),
        (("\n\nUser:",), ("one\n", "\nU", "se\n\nUs", "er: two"), "one\n\nUse"),
        (("aab",), ("aaaab",), "aa"),
        (("",), ("all",), "all"),
    ],
)
def test_cases(stops, parts, answer):
    certain, rest, _ = feed(stops, parts)
    assert certain + rest == answer


def test_nothing_comes_after_a_match():
    matcher = StopMatcher(("x",))
    assert matcher.feed("ax") == "a"
    assert matcher.feed("more") == ""
    assert matcher.flush() == ""
