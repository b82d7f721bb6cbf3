"""The contract on the simulated runtime of every layout, and what is the vendor's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkllmd.engine.contract import Engine
from rkllmd.engine.rkllm.engine import NOTHING
from rkllmd.errors import RkllmdError
from rkllmd.runs import GREEDY, Adapter, Limits, LoadSpec, Prompt, Sampling
from tests.engine.contract_suite import ContractSuite
from tests.engine_rkllm.stories import answer, never, no_progress, opened, save, turn
from tests.fakes.rkllm.built import NEWEST, VERSIONS, built, make_model

COUNTED = ("1.2.3", "1.3.0", "1.3.1")
"""Releases that say what they hold, so that every count is exact."""


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestContract(ContractSuite):
    """What it has in common with the other engines."""

    @pytest.fixture
    def shared_min(self, version: str) -> int:
        return 20 if version in COUNTED else 0

    @pytest.fixture
    def engine_name(self) -> str:
        return "rkllm"

    @pytest.fixture
    def spec(self, version: str, tmp_path: Path) -> LoadSpec:
        model = make_model(tmp_path / "model.rkllm")
        # Before 1.3.0 the sampled token may be saved as well.
        self.saved_beyond = 0 if version.startswith("1.3") else 1
        return LoadSpec(str(model), options={"library": str(built(version))})


@pytest.fixture
def engine(version: str, tmp_path: Path) -> Iterator[Engine]:
    loaded = opened(built(version), make_model(tmp_path / "model.rkllm"))
    yield loaded
    loaded.close()


@pytest.fixture
def fresh(version: str, tmp_path: Path) -> Iterator[Engine]:
    """Another one of the same model, that has seen nothing."""
    loaded = opened(built(version), make_model(tmp_path / "model.rkllm"))
    yield loaded
    loaded.close()


def test_cached_equals_uncached(engine: Engine, fresh: Engine, tmp_path: Path) -> None:
    questions = ["hello", "is the door shut", "hello", "which day is it"]
    expected = []
    for question in questions:
        fresh.reset()
        expected.append(answer(fresh, turn(question))[0])
    saved = save(engine, tmp_path / "state")
    assert engine.load_state(tmp_path / "state") >= saved.tokens
    for question, text in zip(questions, expected, strict=True):
        said, stats = answer(engine, turn(question))
        assert said == text
        assert stats.cached_tokens >= saved.tokens
        assert stats.prompt_tokens == stats.cached_tokens + stats.prefilled_tokens
        assert stats.prefilled_tokens < saved.tokens


@pytest.mark.parametrize("version", COUNTED, indirect=True)
def test_counts_are_exact_whatever_was_held(engine: Engine, fresh: Engine) -> None:
    held: list[str] = []

    @settings(max_examples=40)
    @given(
        st.sampled_from(["hello", "hello there", "rain", "süß", "7 days", ""]),
        st.integers(0, 9),
    )
    def check(text: str, tokens: int) -> None:
        said, stats = answer(engine, turn(text), tokens)
        fresh.reset()
        expected, whole = answer(fresh, turn(text), tokens)
        assert said == expected
        assert stats.prompt_tokens == whole.prompt_tokens == whole.prefilled_tokens
        assert stats.generated_tokens == whole.generated_tokens
        assert stats.reason == whole.reason
        assert 0 <= stats.cached_tokens <= stats.prompt_tokens
        if held and held[-1] == turn(text):
            assert stats.prefilled_tokens == 0
        held.append(turn(text))

    check()


def test_what_is_held_starts_with_the_prompt(engine: Engine, version: str) -> None:
    said, _ = answer(engine, turn("hello"))
    held = engine.held()
    if version.startswith("1.1."):
        assert held == NOTHING  # it keeps nothing of a run
        return
    assert held is not None
    assert held.starts_with(Prompt.of_text(turn("hello")))
    assert (turn("hello") + said).startswith(held.text)
    engine.reset()
    assert engine.held() == NOTHING


def test_max_tokens_is_kept_exactly(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RKLLM_SIM_SCRIPT", "answer= one two three four five")
    for tokens, text in [(0, ""), (1, " one"), (3, " one two three")]:
        said, stats = answer(engine, turn("count"), tokens)
        assert (said, stats.generated_tokens, stats.reason) == (text, tokens, "length")
    said, stats = answer(engine, turn("count"), 50)
    assert (said, stats.generated_tokens, stats.reason) == (" one two three four five", 5, "stop")


@pytest.mark.parametrize("parts", [0, 1], ids=["whole", "parts"])
def test_characters_in_parts_come_out_whole(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    monkeypatch.setenv("RKLLM_SIM_SCRIPT", f"answer=ü 你好 😀 end;waiting_bytes={parts}")
    said, stats = answer(engine, turn("hello"))
    assert said == "ü 你好 😀 end"
    assert stats.generated_tokens == 2 + 1 + 6 + 1 + 4 + 1
    assert stats.reason == "stop"


def test_a_token_without_text_is_a_token(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RKLLM_SIM_SCRIPT", "answer= one two three;null_text=2")
    said, stats = answer(engine, turn("hello"))
    assert (said, stats.generated_tokens, stats.reason) == (" one three", 3, "stop")


def test_a_listener_that_fails_is_heard_and_the_engine_goes_on(engine: Engine) -> None:
    def refuse(piece: bytes) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        engine.run(Prompt.of_text("hello"), GREEDY, Limits(5), refuse, never, no_progress)
    assert engine.held() == NOTHING
    assert answer(engine, turn("hello"))[0]


def test_a_shifted_window_is_not_held(version: str, tmp_path: Path) -> None:
    engine = opened(built(version), make_model(tmp_path / "model.rkllm"), context_tokens=64)
    expected = answer(engine, turn("hello"), 3)[0]
    engine.reset()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RKLLM_SIM_SCRIPT", "answer=" + " more" * 100)
        stats = answer(engine, turn("hello"), 80)[1]
        assert (stats.generated_tokens, stats.reason) == (64, "length")
    assert engine.held() == NOTHING
    assert answer(engine, turn("hello"), 3)[0] == expected
    engine.close()


def test_sampling_is_a_runs_own_since_1_3(engine: Engine, version: str) -> None:
    capability = engine.facts.capabilities.run_sampling
    assert bool(capability) == version.startswith("1.3")
    assert bool(capability.reason) != version.startswith("1.3")


def test_greedy_is_greedy_where_a_run_may_choose(version: str, tmp_path: Path) -> None:
    """Before 1.3.0 the sampling of the load holds, so a greedy run is not: answers differ."""
    model = make_model(tmp_path / "model.rkllm", draw=1)
    for sampling, alike in [(GREEDY, True), (Sampling(), version.startswith("1.3"))]:
        engine = opened(built(version), model, sampling=sampling)
        said = {answer(engine, turn("hello"))[0] for _ in range(4)}
        engine.close()
        assert (len(said) == 1) == alike


@pytest.mark.parametrize("version", ["1.2.3", NEWEST], indirect=True)
def test_an_adapter_changes_the_answer(version: str, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model.rkllm")
    adapter = tmp_path / "adapter.rkllm"
    adapter.write_text("speaks otherwise")
    said = []
    for lora in [(), (Adapter(str(adapter)),), (Adapter(str(adapter), 0.5),)]:
        engine = opened(built(version), model, lora=lora)
        said.append(answer(engine, turn("hello"))[0])
        engine.close()
    assert len(set(said)) == 3
    with pytest.raises(RkllmdError, match="one adapter"):
        opened(built(version), model, lora=(Adapter(str(adapter)), Adapter(str(adapter))))
    with pytest.raises(RkllmdError, match="rkllm_load_lora"):
        opened(built(version), model, lora=(Adapter(str(tmp_path / "gone")),))


def test_the_newest_context_limit_is_learned(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model.rkllm", max_context_limit=1024)
    engine = opened(built(NEWEST), model)
    assert engine.facts.context_tokens == 1024
    assert any("1024" in note for note in engine.facts.notes)
    engine.close()
    engine = opened(built(NEWEST), model, context_tokens=512)
    assert engine.facts.context_tokens == 512
    engine.close()
