"""The plan is idempotent, ordered, patient with what fails, and careful with what is somebody's."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkllmd.ids import CacheName, ModelName
from rkllmd.promptcache.entry import Damaged, Entry, Failure, Key
from rkllmd.promptcache.fingerprint import Ingredients, digest_text
from rkllmd.reconcile.plan import (
    Actual,
    Build,
    Delete,
    Desired,
    MarkStale,
    Plan,
    Quarantine,
    Rename,
    RetryPolicy,
    Step,
    Verify,
    WantedModel,
    WantedPrompt,
    plan,
)
from tests.promptcache.samples import PROOF, entry_of, ingredients_of, snapshot_of

QWEN, PHI = ModelName("qwen"), ModelName("phi")
SYSTEM, KITCHEN = CacheName("system"), CacheName("kitchen")
POLICY = RetryPolicy(attempts_max=3, pause_s=60, factor=4)
ROUNDS_MAX = 12


def wanted(text: str, name: CacheName = SYSTEM, source: Any = "declared", model: str = "model"):
    return WantedPrompt(name, source, ingredients_of(text, model))


def model_of(*prompts: WantedPrompt, name=QWEN, file="model", mtime_ns=7, **more: Any):
    return WantedModel(name, digest_text(file), mtime_ns, prompts, **more)


def desired_of(*models: WantedModel, default=QWEN, complete=True) -> Desired:
    return Desired(models, default, complete)


def actual_of(*entries: Entry | Damaged, deaths=None, failures=None) -> Actual:
    return Actual(entries, failures or {}, deaths or {})


def steps(desired: Desired, actual: Actual, now: float = 0.0) -> tuple[Step, ...]:
    return plan(desired, actual, now, POLICY).steps


def test_what_is_verified_stays() -> None:
    desired = desired_of(model_of(wanted("prompt")))
    assert plan(desired, actual_of(entry_of("prompt")), 0.0) == Plan()


def test_a_new_prompt_is_built() -> None:
    desired = desired_of(model_of(wanted("prompt")))
    assert steps(desired, actual_of()) == (Build(QWEN, SYSTEM, "it is new"),)


def test_a_changed_prompt_is_marked_and_built() -> None:
    desired = desired_of(model_of(wanted("new")))
    reason = "the prompt's text changed"
    found = steps(desired, actual_of(entry_of("old")))
    assert found == (MarkStale(QWEN, SYSTEM, reason), Build(QWEN, SYSTEM, reason))
    marked = entry_of("old", state="stale", reason=reason)
    assert marked.usable
    assert steps(desired, actual_of(marked)) == (Build(QWEN, SYSTEM, reason),)


def test_a_prompt_that_came_back_is_only_proved() -> None:
    desired = desired_of(model_of(wanted("prompt")))
    stale = entry_of("prompt", state="stale", reason="the prompt's text changed")
    assert steps(desired, actual_of(stale)) == (Verify(QWEN, SYSTEM, "it is stale"),)


@pytest.mark.parametrize(
    ("entry", "mtime_ns", "reason"),
    [
        (entry_of("prompt", state="unverified", verification=None), 7, "it is unverified"),
        (entry_of("prompt"), 8, "the model file was written again"),
    ],
)
def test_what_needs_a_proof_gets_one(entry: Entry, mtime_ns: int, reason: str) -> None:
    desired = desired_of(model_of(wanted("prompt"), mtime_ns=mtime_ns))
    assert steps(desired, actual_of(entry)) == (Verify(QWEN, SYSTEM, reason),)


def test_damage_is_built_again() -> None:
    desired = desired_of(model_of(wanted("prompt")))
    damaged = Damaged(QWEN, SYSTEM, "system.bin is missing")
    assert steps(desired, actual_of(damaged)) == (Build(QWEN, SYSTEM, "system.bin is missing"),)


def test_a_removed_prompt_loses_its_cache_and_a_clients_never_does() -> None:
    entries = [
        entry_of("a", name=CacheName("gone")),
        entry_of("b", name=CacheName("mine"), source="api"),
        Damaged(QWEN, CacheName("mine-too"), "its checksum does not fit"),
        entry_of("c", name=CacheName("learned-12345678"), source="learned"),
        Damaged(QWEN, CacheName("learned-87654321"), "it is cut off"),
        entry_of("d", model=PHI, source="api"),
        entry_of("e", model=PHI, name=KITCHEN),
    ]
    desired = desired_of(model_of())
    assert set(steps(desired, actual_of(*entries))) == {
        Delete(QWEN, CacheName("gone"), "its prompt is gone"),
        Delete(QWEN, CacheName("learned-87654321"), "it is cut off"),
        Delete(PHI, KITCHEN, "its model is gone"),
    }
    incomplete = replace(desired, complete=False)
    assert steps(incomplete, actual_of(*entries)) == ()


def test_learned_entries_live_as_long_as_they_fit_their_model() -> None:
    name = CacheName("learned-12345678")
    learned = entry_of("theirs", name=name, source="learned")
    desired = desired_of(model_of(wanted("prompt")))
    good = entry_of("prompt")
    assert steps(desired, actual_of(good, learned)) == ()
    unproved = replace(learned, state="unverified")
    assert steps(desired, actual_of(good, unproved)) == (Verify(QWEN, name, "it is unverified"),)
    for other in ({"engine_version": "2"}, {"template_sha256": digest_text("other")}):
        ingredients = replace(ingredients_of("theirs"), **other)
        snapshot = replace(snapshot_of("theirs"), ingredients=ingredients)
        assert steps(desired, actual_of(good, replace(learned, snapshot=snapshot))) == (
            Delete(QWEN, name, "it does not fit its model any more"),
        )
    deadly = actual_of(good, learned, deaths={(QWEN, name): 2})
    assert steps(desired, deadly) == (
        Quarantine(QWEN, name, "2 workers died while they loaded it"),
    )


def test_a_renamed_model_keeps_its_caches() -> None:
    new = ModelName("renamed")
    entries = [entry_of("prompt"), entry_of("mine", name=KITCHEN, source="api")]
    desired = desired_of(model_of(wanted("prompt"), wanted("mine", KITCHEN, "api"), name=new))
    found = steps(desired, actual_of(*entries))
    assert found == (Rename(QWEN, new),)


def test_a_copy_of_a_model_does_not_take_its_caches() -> None:
    copy = model_of(wanted("prompt"), name=ModelName("copy"))
    desired = desired_of(model_of(wanted("prompt")), copy)
    found = steps(desired, actual_of(entry_of("prompt")))
    assert found == (Build(ModelName("copy"), SYSTEM, "it is new"),)


def test_a_replaced_model_is_built_for() -> None:
    desired = desired_of(model_of(wanted("prompt", model="new"), file="new"))
    reason = "the model file changed"
    assert steps(desired, actual_of(entry_of("prompt"))) == (
        MarkStale(QWEN, SYSTEM, reason),
        Build(QWEN, SYSTEM, reason),
    )


def test_before_the_first_load_nothing_is_decided_about_prompts() -> None:
    desired = desired_of(model_of(WantedPrompt(SYSTEM, "declared", None)))
    found = plan(desired, actual_of(entry_of("old")), 0.0)
    assert found.steps == ()
    assert found.notes[0].reason == "decided when the model has been loaded"


def test_the_default_model_and_system_come_first() -> None:
    prompts = (wanted("a", CacheName("a")), wanted("s"), wanted("z", CacheName("z")))
    models = [model_of(*prompts, name=ModelName(name)) for name in ("b", "qwen", "a")]
    found = steps(desired_of(*models), actual_of())
    builds = [(step.model, step.name) for step in found if isinstance(step, Build)]
    assert builds == [
        (model, name) for model in ("qwen", "a", "b") for name in ("system", "a", "z")
    ]


def test_a_model_that_cannot_save_is_known_as_such() -> None:
    reason = "Qwen3.5 cannot save its state on runtime 1.3.0"
    desired = desired_of(model_of(wanted("prompt"), cannot_save=reason))
    found = plan(desired, actual_of(), 0.0)
    assert found.steps == ()
    assert [note.reason for note in found.notes] == [reason]


def test_a_failed_build_is_tried_again_with_growing_pauses() -> None:
    desired = desired_of(model_of(wanted("new")))
    fingerprint = ingredients_of("new").digest()
    build = Build(QWEN, SYSTEM, "the prompt's text changed")
    for attempts, pause in ((1, 60), (2, 240)):
        failure = Failure(fingerprint=fingerprint, at=100, attempts=attempts, reason="no memory")
        entry = entry_of("old", state="stale", reason=build.reason, failure=failure)
        early = plan(desired, actual_of(entry), 100 + pause - 1, POLICY)
        assert early.steps == ()
        assert early.again_at == 100 + pause
        assert early.notes[0].reason == "tried again later: no memory"
        assert steps(desired, actual_of(entry), 100 + pause) == (build,)
        assert steps(desired, actual_of(entry), 99) == (build,), "the clock was set back"
    failure = Failure(fingerprint=fingerprint, at=100, attempts=3, reason="no memory")
    entry = entry_of("old", state="stale", reason=build.reason, failure=failure)
    last = plan(desired, actual_of(entry), 1e9, POLICY)
    assert (last.steps, last.again_at) == ((), None)
    assert last.notes[0].reason == "given up after 3 attempts: no memory"
    other = desired_of(model_of(wanted("another")))
    assert steps(other, actual_of(entry)) == (build,)


def test_a_failure_that_could_not_be_stored_counts_too() -> None:
    desired = desired_of(model_of(wanted("new")))
    failure = Failure(
        fingerprint=ingredients_of("new").digest(), at=100, attempts=1, reason="the disk is full"
    )
    actual = actual_of(failures={(QWEN, SYSTEM): failure})
    found = plan(desired, actual, 100, POLICY)
    assert found.steps == ()
    assert found.notes[0].reason == "tried again later: the disk is full"
    assert [type(step) for step in steps(desired, actual, 160)] == [Build]


def test_a_broken_learned_entry_goes_and_may_be_learned_again() -> None:
    name = CacheName("learned-12345678")
    broken = entry_of("theirs", name=name, source="learned", state="broken", reason="it differs")
    found = steps(desired_of(model_of()), actual_of(broken))
    assert found == (Delete(QWEN, name, "it is broken: it differs"),)


def test_broken_entries_are_built_and_not_for_ever() -> None:
    desired = desired_of(model_of(wanted("prompt")))
    broken = entry_of("prompt", state="broken", reason="the counts do not fit")
    build = Build(QWEN, SYSTEM, "it is broken: the counts do not fit")
    assert steps(desired, actual_of(broken)) == (build,)
    fingerprint = ingredients_of("prompt").digest()
    failure = Failure(fingerprint=fingerprint, at=0, attempts=3, reason="again")
    assert steps(desired, actual_of(replace(broken, failure=failure)), 1e9) == ()


def test_a_state_that_kills_workers_is_quarantined_until_it_would_be_another_one() -> None:
    desired = desired_of(model_of(wanted("prompt")))
    deadly = actual_of(entry_of("prompt"), deaths={(QWEN, SYSTEM): 2})
    reason = "2 workers died while they loaded it"
    assert steps(desired, deadly) == (Quarantine(QWEN, SYSTEM, reason),)
    assert steps(desired, actual_of(entry_of("prompt"), deaths={(QWEN, SYSTEM): 1})) == ()
    quarantined = entry_of("prompt", state="quarantined", reason=reason)
    assert steps(desired, replace(deadly, entries=(quarantined,))) == ()
    changed = desired_of(model_of(wanted("changed")))
    assert [type(step) for step in steps(changed, actual_of(quarantined))] == [Build]


def test_an_evicted_state_is_not_built_by_itself() -> None:
    desired = desired_of(model_of(wanted("mine", KITCHEN, "api")))
    evicted = entry_of(
        name=KITCHEN, source="api", snapshot=None, state="stale", reason="let go", evicted=True
    )
    found = plan(desired, actual_of(evicted), 0.0)
    assert found.steps == ()
    assert found.notes[0].reason == "let go"


# A world that does the steps, with builds and proofs that sometimes fail.

Outcomes = Callable[[], bool]


def apply(desired: Desired, actual: Actual, now: float, luck: Outcomes) -> Actual:
    entries = {entry.key: entry for entry in actual.entries}
    deaths = dict(actual.deaths)
    models = {model.name: model for model in desired.models}
    for step in steps(desired, actual, now):
        match step:
            case Rename(old, new):
                assert not any(key[0] == new for key in entries)
                for key in [key for key in entries if key[0] == old]:
                    entries[new, key[1]] = replace(entries.pop(key), model_name=new)
            case Quarantine(model, name, reason):
                change(entries, (model, name), state="quarantined", reason=reason)
                deaths.pop((model, name), None)
            case Delete(model, name):
                del entries[model, name]
            case MarkStale(model, name, reason):
                change(entries, (model, name), state="stale", reason=reason)
            case Verify(model, name):
                proof = replace(PROOF, model_mtime_ns=models[model].mtime_ns)
                good = {"state": "verified", "reason": "", "verification": proof}
                bad = {"state": "broken", "reason": "it differs"}
                change(entries, (model, name), **(good if luck() else bad))
            case Build(model, name):
                prompt = next(one for one in models[model].prompts if one.name == name)
                build(entries, models[model], prompt, now, good=luck())
                deaths.pop((model, name), None)
    return replace(actual, entries=tuple(entries.values()), deaths=deaths)


def change(entries: dict[Key, Entry | Damaged], key: Key, **members: Any) -> None:
    entry = entries[key]
    assert isinstance(entry, Entry)
    entries[key] = replace(entry, **members)


def build(
    entries: dict[Key, Entry | Damaged],
    model: WantedModel,
    prompt: WantedPrompt,
    now: float,
    *,
    good: bool,
) -> None:
    key = model.name, prompt.name
    old = entries.get(key)
    ingredients = prompt.ingredients
    assert ingredients is not None
    if good:
        proof = replace(PROOF, model_mtime_ns=model.mtime_ns)
        entries[key] = replace(
            entry_of(model=model.name, name=prompt.name, source=prompt.source),
            snapshot=replace(
                snapshot_of(""), ingredients=ingredients, fingerprint=ingredients.digest()
            ),
            verification=proof,
        )
        return
    before = old.failure if isinstance(old, Entry) else None
    attempts = 1
    if before and before.fingerprint == ingredients.digest():
        attempts = before.attempts + 1
    failure = Failure(fingerprint=ingredients.digest(), at=now, attempts=attempts, reason="no")
    if isinstance(old, Entry):
        entries[key] = replace(old, failure=failure)
    else:
        entries[key] = entry_of(
            model=model.name, name=prompt.name, source=prompt.source, snapshot=None,
            verification=None, state="broken", reason="no", failure=failure,
        )  # fmt: skip


files = st.sampled_from(["model", "other"])
model_names = st.sampled_from([QWEN, PHI, ModelName("third")])
cache_names = st.sampled_from([SYSTEM, KITCHEN, CacheName("learned-12345678")])
some_texts = st.sampled_from(["one", "two"])


@st.composite
def desired_states(draw: st.DrawFn) -> Desired:
    models = []
    for name in draw(st.lists(model_names, unique=True)):
        file = draw(files)
        prompts = [
            WantedPrompt(
                prompt,
                draw(st.sampled_from(["declared", "api"])),
                draw(st.one_of(st.none(), st.builds(ingredients_of, some_texts, st.just(file)))),
            )
            for prompt in draw(st.lists(cache_names, unique=True))
        ]
        cannot = draw(st.sampled_from(["", "", "it cannot"]))
        models.append(
            WantedModel(
                name,
                digest_text(file),
                draw(st.integers(7, 8)),
                tuple(prompts),
                cannot,
            )
        )
    return Desired(tuple(models), draw(st.one_of(st.none(), model_names)), draw(st.booleans()))


@st.composite
def stored_entries(draw: st.DrawFn) -> Entry | Damaged:
    model, name = draw(model_names), draw(cache_names)
    entry = entry_of(
        model=model,
        name=name,
        source=draw(st.sampled_from(["declared", "api", "learned"])),
        state=draw(st.sampled_from(["verified", "unverified", "stale", "broken", "quarantined"])),
        snapshot=draw(st.one_of(st.none(), st.builds(snapshot_of, some_texts, files))),
        verification=draw(st.sampled_from([None, PROOF])),
        evicted=draw(st.booleans()),
    )
    if draw(st.integers(0, 4)) == 0:
        return Damaged(model, name, "it is damaged", draw(st.sampled_from([None, entry])))
    return entry if entry.snapshot is None else replace(entry, evicted=False)


@st.composite
def actual_states(draw: st.DrawFn) -> Actual:
    entries = draw(st.lists(stored_entries(), unique_by=lambda entry: entry.key))
    deaths = draw(st.dictionaries(st.tuples(model_names, cache_names), st.integers(0, 3)))
    return Actual(tuple(entries), deaths=deaths)


@settings(deadline=None)
@given(desired_states(), actual_states())
def test_doing_the_steps_leaves_none(desired: Desired, actual: Actual) -> None:
    done = apply(desired, actual, 0.0, lambda: True)
    assert steps(desired, done) == ()
    for model in desired.models:
        for prompt in model.prompts:
            check_reached(model, prompt, done)


def check_reached(model: WantedModel, prompt: WantedPrompt, actual: Actual) -> None:
    """A wanted prompt has its verified entry where nothing stands against it."""
    found = [entry for entry in actual.entries if entry.key == (model.name, prompt.name)]
    if prompt.ingredients is None or model.cannot_save:
        return
    (entry,) = found
    assert isinstance(entry, Entry)
    if entry.evicted or entry.state == "quarantined":
        return
    assert entry.usable
    assert entry.state == "verified"
    assert entry.snapshot
    assert isinstance(prompt.ingredients, Ingredients)
    assert entry.snapshot.fingerprint == prompt.ingredients.digest()


@settings(deadline=None)
@given(desired_states(), actual_states(), st.randoms(use_true_random=False))
def test_failures_come_to_rest(desired: Desired, actual: Actual, random: Any) -> None:
    now = 0.0
    done = steps(desired, actual, now)
    for _ in range(ROUNDS_MAX):
        actual = apply(desired, actual, now, lambda: random.random() < 0.4)
        found = plan(desired, actual, now, POLICY)
        check_what_follows(desired, done, found.steps)
        if not found.steps:
            if found.again_at is None:
                break
            assert found.again_at > now
            now = found.again_at
            found = plan(desired, actual, now, POLICY)
            # Only failed builds wait for a time.
            assert found.steps
            assert all(isinstance(step, Build) for step in found.steps)
        done = found.steps
    assert steps(desired, actual, 1e12) == ()


def check_what_follows(desired: Desired, done: tuple[Step, ...], found: tuple[Step, ...]) -> None:
    """Without time going by only a failed proof brings steps.

    After it what is wanted is built, and what was learned goes. That may leave its model without
    any entry, and then one that is gone can give it its own, with all that they need.
    """
    wanted = {(model.name, prompt.name) for model in desired.models for prompt in model.prompts}
    proved = {(step.model, step.name) for step in done if isinstance(step, Verify)}
    freed = {step.model for step in done if isinstance(step, Delete)}
    renamed = {step.new for step in found if isinstance(step, Rename)}
    assert renamed <= freed
    for step in found:
        if isinstance(step, Rename) or step.model in renamed:
            continue
        key = step.model, step.name
        assert key in proved
        assert isinstance(step, Build if key in wanted else Delete)


@settings(deadline=None)
@given(desired_states(), actual_states())
def test_nobody_elses_is_deleted(desired: Desired, actual: Actual) -> None:
    sources = {
        entry.key: (entry if isinstance(entry, Entry) else entry.entry) for entry in actual.entries
    }
    found = steps(desired, actual)
    renamed = {step.new: step.old for step in found if isinstance(step, Rename)}
    for step in found:
        if isinstance(step, Delete):
            entry = sources[renamed.get(step.model, step.model), step.name]
            assert desired.complete
            assert (entry is None and step.name.startswith("learned-")) or (
                entry is not None and entry.source != "api"
            )
