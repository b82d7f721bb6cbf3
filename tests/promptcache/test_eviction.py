"""Never over budget where that can be, never a victim that may not go, never more than it takes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from rkllmd.ids import CacheName, ModelName
from rkllmd.promptcache.eviction import Budget, Choice, Held, choose
from rkllmd.runs import Prompt


def held(
    name: str, text: str = "", *, source="learned", pinned=False, size=10, used=0.0, model="m"
):
    key = ModelName(model), CacheName(name)
    return Held(key, source, pinned, size, used, Prompt.of_text(text or name))


def names(choice: Choice) -> list[str]:
    return [name for _, name in choice.victims]


many = st.lists(
    st.builds(
        held,
        st.uuids().map(str),
        st.text("ab", max_size=3),
        source=st.sampled_from(["declared", "api", "learned"]),
        pinned=st.booleans(),
        size=st.integers(0, 50),
        used=st.integers(0, 5).map(float),
        model=st.sampled_from(["m", "n"]),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(many, st.integers(0, 300), st.integers(0, 300), st.integers(0, 60), st.integers(0, 4))
def test_budget_and_choice(all_held, bytes_max: int, free_min: int, needed: int, learned_max: int):
    used, free = sum(one.bytes for one in all_held), 100
    budget = Budget(bytes_max, free_min, learned_max)
    choice = choose(all_held, budget, used_bytes=used, free_bytes=free, needed_bytes=needed)
    by_key = {one.key: one for one in all_held}
    victims = [by_key[key] for key in choice.victims]
    evictable = [one for one in all_held if one.source != "declared" and not one.pinned]
    assert len(set(choice.victims)) == len(victims)
    assert all(one in evictable for one in victims)

    freed = sum(one.bytes for one in victims)
    left = [one for one in all_held if one not in victims]
    over = max(0, used + needed - freed - bytes_max) if bytes_max else 0
    over = max(over, free_min + needed - free - freed)
    possible = sum(one.bytes for one in evictable)
    missing = max(used + needed - possible - bytes_max if bytes_max else 0, 0)
    missing = max(missing, free_min + needed - free - possible)
    assert choice.short_bytes == missing
    if not missing:
        assert over <= 0
    for model in "mn":
        learned = [
            one
            for one in left
            if one.key[0] == model and one.source == "learned" and not one.pinned
        ]
        assert len(learned) <= learned_max
    for head in victims:
        tails = [one for one in left if one in evictable and is_longer_tail(one, head)]
        assert not tails


def is_longer_tail(tail: Held, head: Held) -> bool:
    return (
        (tail.key[0], tail.source) == (head.key[0], head.source)
        and tail.prefix.starts_with(head.prefix)
        and len(tail.prefix.data) > len(head.prefix.data)
    )


def test_learned_by_last_use_then_states_of_prompts_made_through_the_api():
    entries = [
        held("system", source="declared", used=0),
        held("mine", source="api", used=0),
        held("new", used=9),
        held("old", used=1),
        held("kept", used=0, pinned=True),
    ]
    expected = ["old", "new", "mine"]
    for count in range(4):
        choice = choose(entries, Budget(50), used_bytes=50, free_bytes=99, needed_bytes=10 * count)
        assert names(choice) == expected[:count]
        assert choice.short_bytes == 0


def test_what_cannot_be_had_costs_nobody_a_place():
    entries = [held("old"), held("system", source="declared")]
    choice = choose(entries, Budget(20), used_bytes=20, free_bytes=99, needed_bytes=15)
    assert choice == Choice((), 5)


def test_tails_go_before_their_heads():
    entries = [held("head", "a", used=1), held("tail", "ab", used=9), held("other", "b", used=5)]
    choice = choose(entries, Budget(1), used_bytes=30, free_bytes=99)
    assert names(choice) == ["other", "tail", "head"]


def test_each_model_may_have_so_many_learned_ones():
    entries = [held("a", used=1), held("b", used=2), held("c", used=1, model="n")]
    choice = choose(entries, Budget(learned_max=1), used_bytes=30, free_bytes=99)
    assert names(choice) == ["a"]
