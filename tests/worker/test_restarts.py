"""When a dead worker is replaced; time is an argument."""

from hypothesis import given
from hypothesis import strategies as st

from rkllmd.worker.restarts import PAUSE_SECONDS_MAX, Again, GiveUp, Restarts


def test_the_pause_doubles_until_the_budget_is_spent():
    restarts = Restarts(4, 300)
    pauses = [restarts.decide(n, was_ready=True) for n in range(4)]
    assert pauses == [Again(0.1), Again(0.2), Again(0.4), Again(0.8)]
    assert restarts.decide(4, was_ready=True) == GiveUp(
        "its worker died 5 times within 4 s, allowed: 4"
    )


def test_old_deaths_are_forgotten_once_it_was_ready():
    restarts = Restarts(1, 10)
    assert restarts.decide(0, was_ready=True) == Again(0.1)
    assert restarts.decide(10, was_ready=True) == Again(0.1)
    assert isinstance(restarts.decide(15, was_ready=True), GiveUp)


def test_slow_deaths_while_loading_are_not_forgotten():
    restarts = Restarts(2, 10)
    assert isinstance(restarts.decide(0, was_ready=False), Again)
    assert isinstance(restarts.decide(1000, was_ready=False), Again)
    assert isinstance(restarts.decide(2000, was_ready=False), GiveUp)


def test_no_budget_at_all():
    assert isinstance(Restarts(0, 10).decide(0, was_ready=True), GiveUp)


@given(
    st.integers(0, 20),
    st.floats(1, 1000),
    st.lists(st.tuples(st.floats(0, 500), st.booleans()), max_size=60),
)
def test_never_more_deaths_in_a_window_than_the_budget(most, window, lives):
    restarts, now, deaths = Restarts(most, window), 0.0, []
    for lasted, was_ready in lives:
        now += lasted
        decision = restarts.decide(now, was_ready=was_ready)
        deaths.append(now)
        recent = [death for death in deaths if now - death < window]
        if isinstance(decision, GiveUp):
            return
        assert 0 < decision.pause_s <= PAUSE_SECONDS_MAX
        assert len(recent) <= most
