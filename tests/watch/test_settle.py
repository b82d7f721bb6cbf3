"""When a change counts as complete; time is an argument."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from rkllmd.watch.settle import Settler

KEYS = "ab"
looks = st.lists(
    st.tuples(st.dictionaries(st.sampled_from(KEYS), st.integers(0, 2)), st.integers(0, 4)),
    max_size=30,
)
"""What is seen, and how much later."""


def test_a_model_that_is_being_copied_is_not_reported_until_it_is_still() -> None:
    settler: Settler[str, int] = Settler(2.0)
    for now in range(5):
        look = settler.look({"m": now}, now)
        assert look.complete == ()
        assert look.again_at == now + 2
    assert settler.look({"m": 4}, 5.9).complete == ()
    assert settler.look({"m": 4}, 6.0).complete == ("m",)
    assert settler.settled == {"m": 4}
    assert settler.look({"m": 4}, 99).again_at is None


def test_what_is_known_from_the_start_does_not_wait() -> None:
    settler = Settler(2.0, {"m": 1})
    assert settler.look({"m": 1}, 0).again_at is None
    assert settler.settled == {"m": 1}


def test_going_away_settles_too_and_coming_back_as_before_is_no_change() -> None:
    settler = Settler(2.0, {"m": 1})
    assert settler.look({}, 0).again_at == 2
    assert settler.settled == {"m": 1}
    assert settler.look({"m": 1}, 1).again_at is None
    assert settler.look({}, 2).again_at == 4
    assert settler.look({}, 4).complete == ("m",)
    assert settler.settled == {}


def test_remove_and_create_is_one_change() -> None:
    settler = Settler(2.0, {"m": 1})
    settler.look({}, 0)
    assert settler.look({"m": 2}, 1).again_at == 3
    assert settler.look({"m": 2}, 3).complete == ("m",)


def test_what_came_and_went_unreported_is_forgotten() -> None:
    settler: Settler[str, int] = Settler(2.0)
    settler.look({"m": 1}, 0)
    assert settler.look({}, 1).again_at is None
    assert settler.look({"m": 1}, 2).again_at == 4


def test_without_a_wait_everything_is_complete_at_once() -> None:
    settler: Settler[str, int] = Settler(0)
    assert settler.look({"m": 1}, 0).complete == ("m",)
    assert settler.look({}, 0).complete == ("m",)


@given(looks, st.integers(0, 5))
def test_what_is_complete_was_seen_alike_for_the_whole_wait(
    steps: list[tuple[Mapping[str, int], int]], settle_s: int
) -> None:
    settler: Settler[str, int] = Settler(settle_s)
    now, past = 0, []
    for seen, later in steps:
        now += later
        past.append((now, seen))
        before = dict(settler.settled)
        look = settler.look(seen, now)
        for key in KEYS:
            alike = now
            for at, other in reversed(past):
                if other.get(key) != seen.get(key):
                    break
                alike = at
            is_due = seen.get(key) != before.get(key) and now - alike >= settle_s
            assert (key in look.complete) == is_due
            assert settler.settled.get(key) == (seen.get(key) if is_due else before.get(key))


@given(looks, st.integers(0, 5))
def test_looking_again_when_asked_to_ends_with_what_is_there(
    steps: list[tuple[Mapping[str, int], int]], settle_s: int
) -> None:
    settler: Settler[str, int] = Settler(settle_s)
    now = 0.0
    seen: Mapping[str, int] = {}
    for seen, later in steps:
        now += later
        settler.look(seen, now)
    for _ in range(len(KEYS) + 1):
        again_at = settler.look(seen, now).again_at
        if again_at is None:
            break
        assert now < again_at <= now + settle_s
        now = again_at
    assert settler.settled == seen
