"""What is learned, and who is told that their prompt cannot be."""

from hypothesis import given, settings
from hypothesis import strategies as st

from rkllmd.ids import ModelName
from rkllmd.promptcache import learn
from rkllmd.promptcache.learn import Changing, Learn, Learner, Sighting, alike, learned_name
from rkllmd.runs import Prompt

MODEL = ModelName("qwen")
RULES = "\n".join(f"Rule {number}: be {number} times as brief." for number in range(20))


def sighting(text: str, client: str = "uid 1000", tokens: int = 100, model=MODEL) -> Sighting:
    return Sighting(model, client, text, Prompt.of_text(f"<system>{text}"), tokens)


def test_learned_at_the_third_sighting_and_only_then():
    learner = Learner(after=3, tokens_min=64)
    seen = [learner.saw(sighting(RULES, client)) for client in ("a", "b", "a", "b", "a")]
    name = learned_name(Prompt.of_text(f"<system>{RULES}"))
    assert name.startswith("learned-")
    assert len(name) == len("learned-") + 8
    learned = Learn(MODEL, name, RULES, Prompt.of_text(f"<system>{RULES}"), "a")
    assert seen == [None, None, learned, None, None]


def test_never_when_switched_off_or_short():
    for learner in (Learner(after=0, tokens_min=64), Learner(after=2, tokens_min=101)):
        assert {learner.saw(sighting(RULES)) for _ in range(9)} == {None}


def test_models_and_kinds_are_apart():
    learner = Learner(after=2, tokens_min=1)
    assert learner.saw(sighting(RULES)) is None
    assert learner.saw(sighting(RULES, model=ModelName("other"))) is None
    assert isinstance(learner.saw(sighting(RULES)), Learn)


def test_learned_again_after_it_was_forgotten():
    learner = Learner(after=2, tokens_min=1)
    one = sighting(RULES)
    assert [bool(learner.saw(one)) for _ in range(3)] == [False, True, False]
    learner.forget(MODEL, one.prefix)
    assert [bool(learner.saw(one)) for _ in range(3)] == [False, True, False]


def test_a_clock_at_the_head_is_named_once():
    learner = Learner(after=3, tokens_min=64)
    seen = [
        learner.saw(sighting(f"Home of Ann. It is 12:0{minute}.\n{RULES}")) for minute in range(9)
    ]
    (warning,) = [one for one in seen if one]
    assert seen.index(warning) == 3
    assert isinstance(warning, Changing)
    assert warning.position == len("Home of Ann. It is 12:0")
    assert warning.before.startswith("2.\nRule 0")
    assert warning.now.startswith("3.\nRule 0")
    assert "from character 23 on" in str(warning)


def test_changes_in_several_places_name_the_first():
    learner = Learner(after=2, tokens_min=64)
    seen = [
        learner.saw(sighting(f"{minute} o'clock\n{RULES}\nThe lamp is at {minute * 7} %."))
        for minute in range(4)
    ]
    assert [one.position for one in seen if isinstance(one, Changing)] == [0]


def test_taking_turns_between_prompts_is_no_change():
    learner = Learner(after=3, tokens_min=64)
    texts = [f"You speak to {who}.\n{RULES}" for who in ("Ann", "Bob")]
    seen = [learner.saw(sighting(texts[turn % 2])) for turn in range(12)]
    assert [type(one) for one in seen if one] == [Learn, Learn]


def test_other_prompts_are_no_change():
    learner = Learner(after=2, tokens_min=64)
    for word in ("apple", "boat", "cloud", "door"):
        assert learner.saw(sighting(f"{word} " * 50)) is None


def test_memory_is_bounded():
    learner = Learner(after=3, tokens_min=1)
    for number in range(learn.SIGHTINGS_MAX + 200):
        learner.saw(sighting(f"{number}" + "x" * 1000, client=f"client {number}"))
    assert len(learner._counts) == learn.SIGHTINGS_MAX
    assert len(learner._clients) == learn.CLIENTS_MAX
    learner.saw(sighting("y" * (learn.KEPT_CHARACTERS_MAX + 1)))
    assert max(len(client.text) for client in learner._clients.values()) == (
        learn.KEPT_CHARACTERS_MAX
    )


@settings(deadline=None)
@given(st.text("ab\n", min_size=1), st.text("ab\n", min_size=1))
def test_alike_is_mutual_and_holds_for_itself(one: str, other: str) -> None:
    assert alike(one, other) == alike(other, one)
    assert alike(one, one)
