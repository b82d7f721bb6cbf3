"""Thinking and answer are told apart however the text is cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.chat.builtin import TEMPLATES
from rkllmd.chat.thinking import ThinkingSplitter, find_style, opens_thinking


def split(pieces, style="qwen", open_at_start=False):
    splitter = ThinkingSplitter(style, open_at_start)
    said = [part for piece in pieces for part in splitter.feed(piece)] + splitter.flush()
    assert all(text for _, text in said)
    thinking = "".join(text for channel, text in said if channel == "thinking")
    answer = "".join(text for channel, text in said if channel == "answer")
    return thinking, answer


CASES = [
    ("<think>\nHm.\n</think>\n\nHello", False, "Hm.\n", "Hello"),
    ("Hm.\n</think>\n\nHello", True, "Hm.\n", "Hello"),
    ("\nHm.</think>Hello", True, "Hm.", "Hello"),
    ("Hello", False, "", "Hello"),
    ("  Hello", False, "", "  Hello"),
    ("<think>\n\n</think>\n\nHello", False, "", "Hello"),
    ("<think>never closed </th", False, "never closed </th", ""),
    ("<think>a < b </b> c</think>d", False, "a < b </b> c", "d"),
    ("<think>a</think>\n<think>b</think>\nc", False, "ab", "c"),
    ("</think>\n\nHello", False, "", "Hello"),
    ("\n </think>Hello", False, "", "Hello"),
    ("The tag <think> opens, </think> closes", False, "", "The tag <think> opens, </think> closes"),
    ("<thin", False, "", "<thin"),
    ("<thinking", False, "", "<thinking"),
    ("<think>x</think>\n\n  <b", False, "x", "  <b"),
    ("", True, "", ""),
    ("\n\n", True, "", ""),
    ("\n", False, "", "\n"),
]


@pytest.mark.parametrize(("text", "open_at_start", "thinking", "answer"), CASES)
def test_cases(text, open_at_start, thinking, answer):
    assert split([text], "qwen", open_at_start) == (thinking, answer)
    assert split(text, "deepseek", open_at_start) == (thinking, answer)


def test_a_model_that_does_not_think_is_left_alone():
    assert split(["<think>x</think>y"], "none") == ("", "<think>x</think>y")


said = st.lists(
    st.sampled_from(["<think>", "</think>", "<", "</", "think", ">", "\n", " ", "a", "é"])
).map("".join)


@given(said, st.booleans(), st.lists(st.integers(0, 60)))
def test_any_cut_gives_the_same(text, open_at_start, cuts):
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in pairwise(edges)]
    assert split(pieces, "qwen", open_at_start) == split([text], "qwen", open_at_start)


@given(said, st.booleans())
def test_nothing_but_tags_and_their_newlines_is_lost(text, open_at_start):
    thinking, answer = split(text, "qwen", open_at_start)
    rest = iter(text)
    assert all(character in rest for character in thinking + answer)
    assert [c for c in text if c in "aé"] == [c for c in thinking + answer if c in "aé"]


def test_an_answer_is_told_at_once():
    splitter = ThinkingSplitter("qwen")
    assert splitter.feed("H") == [("answer", "H")]
    assert splitter.feed("<think>") == [("answer", "<think>")]


def test_thoughts_are_told_but_for_what_may_be_the_tag():
    splitter = ThinkingSplitter("qwen", open_at_start=True)
    assert splitter.feed("a <") == [("thinking", "a ")]
    assert splitter.feed("/ b") == [("thinking", "</ b")]


def test_a_prompt_that_ends_in_the_thoughts_is_noticed():
    assert opens_thinking("<｜Assistant｜><think>\n")
    assert not opens_thinking("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert not opens_thinking("")


def test_styles_are_found_in_templates():
    assert find_style(TEMPLATES["deepseek"]) == "deepseek"
    assert find_style(TEMPLATES["qwen3"]) == "qwen"
    assert find_style(TEMPLATES["llama3"]) == "none"
