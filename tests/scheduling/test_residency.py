"""Room for a model: who leaves, who never does, and what is said when nobody can."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.errors import Code, RkllmdError
from rkllmd.scheduling.residency import MIB, Resident, expired, make_room, next_expiry


def resident(name, last_used=0.0, busy=False, preloaded=False, memory=100, keep_alive=-1.0):
    return Resident(name, last_used, busy, preloaded, memory * MIB, keep_alive)


def test_nobody_leaves_when_there_is_room():
    assert make_room([resident("a")], 50 * MIB, 100 * MIB, 2) == []


def test_the_idle_one_unused_for_longest_leaves():
    loaded = [resident("a", 3), resident("b", 1, busy=True), resident("c", 2)]
    assert make_room(loaded, 150 * MIB, 100 * MIB, 9) == ["c"]
    assert make_room(loaded, 0, None, 3) == ["c"]


def test_a_preloaded_one_leaves_last():
    loaded = [resident("a", 1, preloaded=True), resident("b", 2)]
    assert make_room(loaded, 0, None, 2) == ["b"]
    assert make_room(loaded, 250 * MIB, 100 * MIB, 9) == ["b", "a"]


def test_what_does_not_fit_says_the_numbers():
    with pytest.raises(RkllmdError, match=r"400 MiB, and 200 MiB") as caught:
        make_room([resident("a")], 400 * MIB, 100 * MIB, 9)
    assert caught.value.code is Code.OUT_OF_MEMORY


def test_all_busy_says_so():
    with pytest.raises(RkllmdError, match="in use") as caught:
        make_room([resident("a", busy=True)], 0, None, 1)
    assert caught.value.code is Code.NOT_READY


residents = st.lists(
    st.builds(
        resident,
        st.sampled_from("abcdef"),
        st.floats(0, 100),
        st.booleans(),
        st.booleans(),
        st.integers(0, 200),
        st.sampled_from([-1.0, 0.0, 10.0, 50.0]),
    ),
    unique_by=lambda one: one.name,
)


@given(residents, st.integers(0, 400), st.none() | st.integers(0, 400), st.integers(1, 5))
def test_room_that_was_made_is_enough_and_costs_no_busy_model(loaded, needed, available, most):
    by_name = {one.name: one for one in loaded}
    try:
        leaving = make_room(
            loaded, needed * MIB, None if available is None else available * MIB, most
        )
    except RkllmdError as error:
        assert error.code in {Code.NOT_READY, Code.OUT_OF_MEMORY}
        return
    assert not any(by_name[name].busy for name in leaving)
    assert len(loaded) - len(leaving) < most
    if available is not None:
        freed = sum(by_name[name].memory_bytes for name in leaving)
        assert needed * MIB <= available * MIB + freed


@given(residents, st.floats(0, 200))
def test_expiry_and_its_alarm_agree(loaded, now):
    gone = expired(loaded, now)
    alarm = next_expiry(loaded)
    assert bool(gone) == (
        alarm is not None
        and any(
            not one.busy and one.keep_alive_s >= 0 and now - one.last_used >= one.keep_alive_s
            for one in loaded
        )
    )
    if alarm is not None and not gone:
        assert alarm >= now - 1e-6
