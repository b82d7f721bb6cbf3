"""Conversations: expiry, bounds, whole turns, and what was heard of an answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.errors import Code, NotFound, RequestError
from rkllmd.protocol.messages import Message, TextPart
from rkllmd.scheduling.sessions import (
    Sessions,
    content_text,
    turns_of,
    within,
    without_oldest_turn,
)


def user(text):
    return Message("user", text)


def assistant(text):
    return Message("assistant", text)


@pytest.fixture
def sessions():
    return Sessions(expire_s=330, count_max=3, bytes_max=100)


def test_an_expired_session_begins_anew(sessions):
    with sessions.talk("kitchen", lambda: 0) as session:
        sessions.remember(session, [user("hi"), assistant("hello")])
    with sessions.talk("kitchen", lambda: 330) as session:
        assert session.history == [user("hi"), assistant("hello")]
    with sessions.talk("kitchen", lambda: 661) as session:
        assert session.history == []


def test_a_session_does_not_expire_while_a_request_goes_on_in_it(sessions):
    times = iter([0, 0, 0, 400])
    with sessions.talk("kitchen", lambda: next(times)) as session:
        assert sessions.all(399) == [session]
        sessions.remember(session, [user("hi")])
    assert sessions.show("kitchen", 730).history == [user("hi")]
    assert sessions.all(731) == []


def test_the_session_unused_for_longest_goes_first(sessions):
    for name in "abcad":
        with sessions.talk(name, lambda: 0):
            pass
    assert [one.name for one in sessions.all(5)] == ["c", "a", "d"]


def test_a_session_in_which_a_request_goes_on_does_not_have_to_go(sessions):
    with sessions.talk("a", lambda: 0):
        for name in "bcde":
            with sessions.talk(name, lambda: 0):
                pass
        assert [one.name for one in sessions.all(5)] == ["a", "d", "e"]


def test_an_answer_to_a_session_that_was_reset_is_not_remembered(sessions):
    with sessions.talk("kitchen", lambda: 0) as session:
        sessions.reset("kitchen", 1)
        sessions.remember(session, [user("hi")])
    with pytest.raises(NotFound) as caught:
        sessions.show("kitchen", 3)
    assert caught.value.code is Code.UNKNOWN_SESSION


def test_history_is_bounded_in_whole_turns(sessions):
    history = [user("a" * 40), assistant("b" * 20), user("c" * 40), assistant("d" * 20)]
    assert within(history, 100) == history[2:]
    assert within(history, 120) == history
    assert within(history, 1) == history[2:], "the last turn always stays"


messages = st.lists(
    st.builds(Message, st.sampled_from(["user", "assistant", "tool"]), st.text(max_size=5))
)


@given(messages)
def test_turns_lose_nothing(history):
    assert [message for turn in turns_of(history) for message in turn] == history


@given(messages, st.integers(0, 30))
def test_what_stays_is_a_tail_of_whole_turns(history, bytes_max):
    kept = within(history, bytes_max)
    assert kept == history[len(history) - len(kept) :]
    assert turns_of(kept) == turns_of(history)[len(turns_of(history)) - len(turns_of(kept)) :]


@given(messages)
def test_dropping_turns_ends_and_keeps_the_system_message(history):
    history = [Message("system", "be kind"), *history]
    steps = 0
    while (shorter := without_oldest_turn(history)) is not None:
        assert shorter[0] == history[0]
        assert len(shorter) < len(history)
        history = shorter
        steps += 1
    assert len(turns_of(history[1:])) <= 1


@pytest.mark.parametrize(
    ("answer", "spoken", "kept"),
    [
        ("One. Two. Three.", "One. Two.", "One. Two."),
        ("**One.** Two.", "One.", "**One."),
        ("One two", "", ""),
        ("One two", "One two three", "One two"),
        ("One two", 5, "One t"),
        ("One two", 500, "One two"),
    ],
)
def test_truncate_keeps_what_was_heard(sessions, answer, spoken, kept):
    with sessions.talk("kitchen", lambda: 0) as session:
        sessions.remember(session, [user("count"), assistant(answer)])
    assert sessions.truncate("kitchen", spoken, 2) == kept
    assert sessions.show("kitchen", 3).history[-1].content == kept


def test_truncate_without_an_answer_says_so(sessions):
    with (
        sessions.talk("kitchen", lambda: 0),
        pytest.raises(RequestError, match="no answer"),
    ):
        sessions.truncate("kitchen", "x", 1)


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, ""), ("a", "a"), ((TextPart("a"), TextPart("b")), "ab")],
)
def test_content_is_one_text(content, text):
    assert content_text(Message("user", content)) == text
