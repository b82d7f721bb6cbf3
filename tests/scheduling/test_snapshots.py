"""Which states of sessions are kept, and what a prompt will take."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from rkllmd.ids import ModelName
from rkllmd.runs import Prompt, RunStats
from rkllmd.scheduling.pace import Pace
from rkllmd.scheduling.snapshots import (
    GAIN_TOKENS_MIN,
    TOKEN_BYTES,
    Live,
    Snapshot,
    is_worth_keeping,
    is_worth_loading,
    surplus,
)

LONG = Prompt.of_tokens(range(GAIN_TOKENS_MIN))
OTHER = Prompt.of_tokens([7])


def snapshot(number, size):
    return Snapshot(ModelName("m"), str(number), LONG, Path(str(number)), size, used=number)


def test_only_what_is_lost_and_long_is_kept():
    live = Live("a", LONG, stored_units=0)
    assert is_worth_keeping(live, "b", OTHER)
    assert is_worth_keeping(live, None, OTHER)
    assert not is_worth_keeping(live, "a", OTHER), "its own session goes another way"
    assert not is_worth_keeping(live, "b", LONG), "nothing of it is lost"
    assert not is_worth_keeping(Live(None, LONG, 0), "b", OTHER), "nobody comes back for it"
    assert not is_worth_keeping(Live("a", LONG, 1), "b", OTHER), "the store has enough of it"


def test_text_counts_by_the_bytes_that_a_token_has():
    text = Prompt.of_text("x" * GAIN_TOKENS_MIN * TOKEN_BYTES)
    other = Prompt.of_text("another")
    assert is_worth_keeping(Live("a", text, 0), "b", other)
    assert not is_worth_keeping(Live("a", text, 1), "b", other)
    kept = Snapshot(ModelName("m"), "a", text, Path("a"), 1, used=0)
    assert is_worth_loading(kept, text, had_units=0)
    assert not is_worth_loading(kept, text, had_units=1)


def test_what_has_clearly_more_is_loaded():
    assert is_worth_loading(snapshot(1, 1), LONG, had_units=0)
    assert not is_worth_loading(snapshot(1, 1), LONG, had_units=1)
    assert not is_worth_loading(snapshot(1, 1), OTHER, had_units=0)


@given(st.lists(st.integers(1, 50)), st.integers(0, 200))
def test_what_stays_fits_and_was_used_last(sizes, bytes_max):
    every = [snapshot(number, size) for number, size in enumerate(sizes)]
    gone = surplus(every, bytes_max)
    kept = [one for one in every if one not in gone]
    assert sum(one.bytes for one in kept) <= bytes_max
    assert all(one.used > other.used for one in kept for other in gone)
    if gone:
        newest = max(gone, key=lambda one: one.used)
        assert sum(one.bytes for one in [*kept, newest]) > bytes_max


@given(st.lists(st.tuples(st.integers(1, 500), st.floats(0.1, 1e4)), min_size=1))
def test_the_fastest_speed_counts(runs):
    pace = Pace()
    for tokens, ms in runs:
        stats = RunStats(tokens, tokens, 0, tokens, ms, ms, "stop")
        pace.learn(Prompt.of_tokens(range(tokens)), stats)
    telling = [ms / 1000 / tokens for tokens, ms in runs if tokens >= 32]
    assert pace.token_s == pace.unit_s == min(telling, default=0.0)
    said = [ms / 1000 / (tokens - 1) for tokens, ms in runs if tokens >= 8]
    assert pace.answer_token_s == min(said, default=0.0)
