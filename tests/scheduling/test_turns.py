"""The order of turns: tables of cases, and properties over arbitrary stories."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rkllmd.errors import Code, StateError
from rkllmd.ids import ConnectionId, TicketId
from rkllmd.scheduling.turns import Priority, Ticket, Turns


def ticket(number, priority=Priority.NORMAL, user="u", connection=1, start_by=None):
    yields = priority is Priority.BACKGROUND
    return Ticket(TicketId(number), priority, user, ConnectionId(connection), start_by, yields)


def order(turns):
    """Everybody's turn, one after another."""
    served = []
    while (decision := turns.decide(0, worker_ready=True)).start:
        served.append(decision.start.id)
        turns.leave(decision.start)
    return served


@pytest.mark.parametrize(
    ("tickets", "expected"),
    [
        ([ticket(1), ticket(2)], [1, 2]),
        ([ticket(1, Priority.BACKGROUND), ticket(2), ticket(3, Priority.VOICE)], [3, 2, 1]),
        # A user with three requests does not keep another one waiting for all three.
        ([ticket(1, user="a"), ticket(2, user="a"), ticket(3, user="a"), ticket(4, user="b")],
         [1, 4, 2, 3]),
        # The same between two connections of one user.
        ([ticket(1, connection=1), ticket(2, connection=1), ticket(3, connection=2)], [1, 3, 2]),
        # Opening many connections gains a user nothing against another user.
        ([ticket(1, user="a", connection=1), ticket(2, user="a", connection=2),
          ticket(3, user="a", connection=3), ticket(4, user="b", connection=4)], [1, 4, 2, 3]),
    ],
)  # fmt: skip
def test_order(tickets, expected):
    turns = Turns(100)
    for one in tickets:
        turns.enter(one)
    assert order(turns) == expected


def test_one_runs_at_a_time_and_only_when_the_worker_is_ready():
    turns = Turns(10)
    first, second = ticket(1), ticket(2)
    turns.enter(first)
    turns.enter(second)
    assert turns.decide(0, worker_ready=False).start is None
    assert turns.decide(0, worker_ready=True).start is first
    assert turns.decide(0, worker_ready=True).start is None
    turns.leave(first)
    assert turns.decide(0, worker_ready=True).start is second


@pytest.mark.parametrize("running", Priority)
@pytest.mark.parametrize("waiting", Priority)
def test_only_background_gives_way(running, waiting):
    turns = Turns(10)
    one = ticket(1, running)
    turns.enter(one)
    turns.decide(0, worker_ready=True)
    turns.enter(ticket(2, waiting))
    expected = one if running is Priority.BACKGROUND and waiting < running else None
    assert turns.decide(0, worker_ready=True).give_way is expected


def test_what_yields_gives_way_to_higher_priorities_only():
    turns = Turns(10)
    aged = Ticket(TicketId(1), Priority.NORMAL, "u", ConnectionId(1), yields=True)
    turns.enter(aged)
    turns.decide(0, worker_ready=True)
    turns.enter(ticket(2, Priority.NORMAL))
    assert turns.decide(0, worker_ready=True).give_way is None
    turns.enter(ticket(3, Priority.VOICE))
    assert turns.decide(0, worker_ready=True).give_way is aged


def test_a_full_queue_names_its_bound():
    turns = Turns(2)
    turns.enter(ticket(1))
    turns.enter(ticket(2))
    with pytest.raises(StateError, match="2 requests") as caught:
        turns.enter(ticket(3))
    assert caught.value.code is Code.QUEUE_FULL
    assert caught.value.details["length_max"] == 2


def test_a_ticket_that_cannot_start_in_time_is_handed_back_once():
    turns = Turns(10)
    late = ticket(1, start_by=5.0)
    turns.enter(late)
    assert turns.wake_at() == 5.0
    assert turns.decide(4.9, worker_ready=False).too_late == ()
    assert turns.decide(5.0, worker_ready=True).too_late == (late,)
    assert turns.decide(6.0, worker_ready=True) == turns.decide(6.0, worker_ready=True)
    assert len(turns) == 0


@given(st.lists(st.tuples(st.sampled_from(Priority), st.sampled_from("abc"), st.integers(1, 3))))
def test_positions_are_the_order_that_follows_for_a_single_user_each(wishes):
    turns = Turns(1000)
    for number, (priority, _, _) in enumerate(wishes):
        turns.enter(ticket(number, priority, user=str(number)))
    expected = [wish for _, wish in sorted((turns.position(t), t.id) for t in waiting(turns))]
    assert order(turns) == expected


def waiting(turns):
    return list(turns._waiting.values())


class Story(RuleBasedStateMachine):
    """Anybody may come, go, be served or give way, in any order."""

    def __init__(self):
        super().__init__()
        self.turns = Turns(20)
        self.next = 1
        self.now = 0.0
        self.waiting = {}
        self.running = None
        self.overtaken = {}

    @rule(
        priority=st.sampled_from(Priority),
        user=st.sampled_from("ab"),
        connection=st.integers(1, 2),
        patience=st.none() | st.integers(0, 5),
    )
    def come(self, priority, user, connection, patience):
        start_by = None if patience is None else self.now + patience
        one = ticket(self.next, priority, user, connection, start_by)
        self.next += 1
        if len(self.waiting) == 20:
            with pytest.raises(StateError):
                self.turns.enter(one)
        else:
            self.turns.enter(one)
            self.waiting[one.id] = one
            self.overtaken[one.id] = {}

    @rule(step=st.integers(0, 3), ready=st.booleans())
    def decide(self, step, ready):
        self.now += step
        decision = self.turns.decide(self.now, worker_ready=ready)
        for late in decision.too_late:
            assert self.waiting.pop(late.id).start_by <= self.now
        if decision.start:
            assert ready
            assert self.running is None
            started = self.waiting.pop(decision.start.id)
            self.running = started
            for other in self.waiting.values():
                assert started.priority <= other.priority
                if other.priority == started.priority and other.user != started.user:
                    seen = self.overtaken[other.id]
                    seen[started.user] = seen.get(started.user, 0) + 1
                    # At most once for the turn it was owed, and once for the one it had before.
                    assert seen[started.user] <= 2, "another user was served again and again"
        if not self.waiting and self.running is None:
            assert not self.turns._served, "a memory of users who are gone"
        if decision.give_way:
            assert decision.give_way is self.running
            assert self.running.priority is Priority.BACKGROUND

    @precondition(lambda self: self.running)
    @rule()
    def end(self):
        self.turns.leave(self.running)
        self.running = None

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data):
        one = data.draw(st.sampled_from(list(self.waiting.values())))
        del self.waiting[one.id]
        self.turns.leave(one)

    @invariant()
    def same_as_told(self):
        assert set(self.turns._waiting) == set(self.waiting)
        assert self.turns.running is self.running


TestStory = Story.TestCase
