"""What any engine has to pass: the sentences of the contract, as tests.

A test module inherits `ContractSuite` and has a fixture `engine_name` and a fixture `model_path`,
or its own `spec`. An engine without a tokenizer is given texts, and how many tokens they have is
taken from its first run. What its capabilities deny is passed over, and what it says that it does
not hold is not expected of it. `saved_beyond` and `shared_min` are for releases of the vendor's
runtime that do not count everything.
"""

from dataclasses import dataclass

import pytest

from rkllmd.engine import open_engine
from rkllmd.errors import Code, RkllmdError
from rkllmd.runs import GREEDY, Ability, Limits, LoadSpec, Prompt, RunStats, Sampling

SYSTEM = " ".join(["You turn lights on and off. Answer in one short sentence, please."] * 4)
QUESTION = "Turn on the light in the kitchen."
NOTHING = (Prompt.of_tokens([]), Prompt.of_text(""))
IMPOSSIBLE = [
    *map(Prompt.of_tokens, ([], [-1], [1 << 30])),
    *map(Prompt.of_text, ("", "a\0b")),
]


@dataclass
class Answer:
    """What a run gave."""

    said: list[int]
    """Its tokens, where the engine has a tokenizer."""
    text: bytes
    stats: RunStats
    progress: list[tuple[int, int]]


def answer(engine, prompt, most=12, sampling=GREEDY, stop_after=None):
    """Run a prompt, or tokens; stop when `should_stop` was asked `stop_after` times."""
    pieces, progress, asked = [], [], []
    prompt = prompt if isinstance(prompt, Prompt) else Prompt.of_tokens(prompt)

    def should_stop():
        asked.append(1)
        return stop_after is not None and len(asked) > stop_after

    stats = engine.run(
        prompt, sampling, Limits(most), pieces.append, should_stop, lambda *at: progress.append(at)
    )
    held = engine.held()
    assert held is None or held.common_units(prompt) == min(held.units, prompt.units)
    said = []
    if prompt.kind == "tokens":
        assert stats.generated_tokens == len(pieces)
        # The last token's own state is not needed yet, so a context of its own says which it was.
        said = list(held.tokens[prompt.units :])
        assert len(said) >= stats.generated_tokens - 1
    # Without a tokenizer a token may be a part of a character.
    assert len(pieces) <= stats.generated_tokens
    return Answer(said, b"".join(pieces), stats, progress)


def save(engine, path, prompt, should_stop=lambda: False):
    prompt = prompt if isinstance(prompt, Prompt) else Prompt.of_tokens(prompt)
    return engine.save_state(path, prompt, should_stop, lambda *_: None)


def holds_nothing(engine):
    return engine.held() in NOTHING


class ContractSuite:
    """Inherited by an engine's tests."""

    saved_beyond = 0
    """A state may have so many tokens more than its prompt, and be counted as such."""

    @pytest.fixture
    def shared_min(self):
        """As much of a beginning that two prompts share is counted."""
        return 20

    @pytest.fixture
    def spec(self, model_path):
        # Threads that wait for each other would stand still on a busy machine.
        return LoadSpec(str(model_path), threads=1)

    @pytest.fixture
    def load(self, engine_name, spec):
        """Loads the model once more each time."""
        loaded = []

        def load():
            loaded.append(open_engine(engine_name).load(spec, lambda *_: None))
            return loaded[-1]

        yield load
        for engine in loaded:
            engine.close()
            engine.close()

    @pytest.fixture
    def engine(self, load):
        return load()

    @pytest.fixture
    def as_prompt(self, engine):
        """Makes a prompt of a text."""
        if engine.facts.capabilities.tokenizer:
            return lambda text: Prompt.of_tokens(engine.tokenize(text))
        return Prompt.of_text

    @pytest.fixture
    def prompt(self, as_prompt):
        return as_prompt(f"{SYSTEM} {QUESTION}")

    @pytest.fixture
    def prefix(self, as_prompt):
        """The prompt's first part, but for a token that may be another one with text behind it."""
        system = as_prompt(SYSTEM)
        return system if system.kind == "text" else first_units(system, system.units - 1)

    def test_only_what_is_new_is_computed(self, engine, prompt, as_prompt):
        first = answer(engine, prompt).stats
        assert (first.prefilled_tokens, first.cached_tokens) == (first.prompt_tokens, 0)
        longer = Prompt(prompt.kind, prompt.data + as_prompt(" And the blinds?").data)
        engine.reset()
        answer(engine, prompt, 0)
        kept = 0 if holds_nothing(engine) else first.prompt_tokens
        second = answer(engine, longer).stats
        assert second.cached_tokens == kept
        assert second.prefilled_tokens == second.prompt_tokens - kept
        if prompt.kind == "tokens":
            assert (first.prompt_tokens, second.prompt_tokens) == (prompt.units, longer.units)

    def test_a_held_prompt_computes_one_token_at_most(self, engine, prompt):
        wanted = answer(engine, prompt)
        kept, prompt_tokens = not holds_nothing(engine), wanted.stats.prompt_tokens
        again = answer(engine, prompt)
        assert again.text == wanted.text
        assert again.stats.prefilled_tokens <= 1 or not kept
        assert again.stats.prefilled_tokens + again.stats.cached_tokens == prompt_tokens

    def test_another_prompt_shares_the_beginning_only(self, engine, prompt, as_prompt, shared_min):
        other = as_prompt(f"{SYSTEM} Close the blinds")
        wanted = answer(engine, other)
        engine.reset()
        answer(engine, prompt)
        shared = 0 if holds_nothing(engine) else shared_min
        second = answer(engine, other)
        assert second.text == wanted.text
        assert shared <= second.stats.cached_tokens < wanted.stats.prompt_tokens
        unrelated = answer(engine, as_prompt("the garden")).stats
        assert unrelated.cached_tokens <= 1, "more than a token that every text begins with"

    def test_a_saved_state_is_continued_also_by_another_engine(
        self, engine, load, prompt, prefix, as_prompt, tmp_path
    ):
        wanted = answer(engine, prompt)
        path = tmp_path / "state"
        saved = save(engine, path, prefix)
        assert engine.held() == prefix or holds_nothing(engine)
        if prefix.kind == "tokens":
            assert saved.tokens == prefix.units
        answer(engine, as_prompt("Something else"))
        for one in (engine, load()):
            assert one.load_state(path) - saved.tokens in (0, self.saved_beyond)
            continued = answer(one, prompt)
            assert continued.text == wanted.text
            assert continued.stats.cached_tokens - saved.tokens in (0, self.saved_beyond)
            assert continued.stats.prefilled_tokens == wanted.stats.prompt_tokens - saved.tokens
            one.release_state()

    def test_what_is_held_is_saved_without_computing_it_again(self, engine, load, prompt, tmp_path):
        answer(engine, prompt)
        held = engine.held()
        if holds_nothing(engine):
            pytest.skip("it keeps nothing of a run")
        saved = save(engine, tmp_path / "state", held)
        assert saved.prefilled_tokens <= 1
        longer = Prompt(prompt.kind, held.data + prompt.data)
        wanted = answer(engine, longer).text
        another = load()
        another.load_state(tmp_path / "state")
        continued = answer(another, longer)
        assert continued.text == wanted
        assert continued.stats.cached_tokens >= saved.tokens - 1

    def test_a_stopped_save_writes_nothing(self, engine, prompt, tmp_path):
        assert save(engine, tmp_path / "state", prompt, lambda: True) is None
        assert not (tmp_path / "state").exists()

    def test_a_foreign_state_is_refused_and_nothing_is_held(self, engine, prompt, tmp_path):
        answer(engine, prompt)
        (tmp_path / "state").write_bytes(b"something else")
        with pytest.raises(RkllmdError) as refused:
            engine.load_state(tmp_path / "state")
        assert refused.value.code is Code.ENGINE_ERROR
        assert holds_nothing(engine)

    @pytest.mark.parametrize("stop_after", range(8))
    def test_a_stopped_run_keeps_its_state(self, engine, prompt, stop_after):
        wanted = answer(engine, prompt).text
        engine.reset()
        stopped = answer(engine, prompt, stop_after=stop_after)
        assert stopped.stats.reason == "cancelled"
        assert wanted.startswith(stopped.text)
        assert answer(engine, prompt).text == wanted

    def test_progress_counts_to_what_is_new(self, engine, prompt):
        ran = answer(engine, prompt)
        if not engine.facts.capabilities.interruptible_prefill:
            assert ran.progress == [], "it does not say how far it is"
            return
        assert ran.progress == sorted(ran.progress)
        assert ran.progress[-1] == (prompt.units, prompt.units)

    def test_length_ends_a_run(self, engine, prompt):
        assert answer(engine, prompt, 3).stats.reason == "length"
        nothing = answer(engine, prompt, 0)
        assert (nothing.stats.generated_tokens, nothing.text) == (0, b"")

    def test_a_prompt_that_fills_the_context_is_refused(self, engine, prompt):
        context = engine.facts.context_tokens
        full = Prompt(prompt.kind, prompt.data * context)
        if prompt.kind == "tokens":
            full = first_units(full, context)
        with pytest.raises(RkllmdError) as refused:
            answer(engine, full)
        assert refused.value.code is Code.CONTEXT_OVERFLOW
        assert refused.value.details["context_tokens"] == context
        assert answer(engine, prompt, 1).stats.generated_tokens == 1, "it goes on"
        if prompt.kind == "tokens":
            assert refused.value.details["prompt_tokens"] == context

    def test_the_context_ends_a_run(self, engine, prompt):
        if prompt.kind == "text":
            pytest.skip("without a tokenizer nobody knows how much of the context is left")
        context = engine.facts.context_tokens
        nearly = first_units(Prompt(prompt.kind, prompt.data * context), context - 2)
        last = answer(engine, nearly, 50).stats
        assert (last.generated_tokens, last.reason) == (2, "length")

    def test_a_seed_repeats_an_answer(self, engine, prompt):
        denied = engine.facts.capabilities.seed
        if not denied:
            pytest.skip(denied.reason)
        sampling = Sampling(temperature=1.0, top_k=0, top_p=1.0, seed=7)
        assert (
            answer(engine, prompt, 20, sampling).text == answer(engine, prompt, 20, sampling).text
        )
        drawn = {
            answer(engine, prompt, 20, Sampling(1.0, 0, 1.0, seed=seed)).text for seed in range(5)
        }
        assert len(drawn) > 1

    @pytest.mark.parametrize("impossible", IMPOSSIBLE, ids=range(len(IMPOSSIBLE)))
    def test_impossible_prompts_are_refused(self, engine, impossible):
        if engine.facts.capabilities.tokenizer and impossible.kind == "text":
            pytest.skip("it is given tokens")
        with pytest.raises(RkllmdError) as refused:
            answer(engine, impossible)
        assert refused.value.code is Code.BAD_REQUEST

    def test_a_tokenizer_is_there_or_denied(self, engine):
        able = engine.facts.capabilities.tokenizer
        if able:
            assert engine.tokenize(QUESTION)
            return
        assert (able.ability, bool(able.reason)) == (Ability.NO, True)
        with pytest.raises(RkllmdError) as refused:
            engine.tokenize(QUESTION)
        assert refused.value.code is Code.UNSUPPORTED

    @pytest.mark.parametrize("pooling", ["last", "mean", "cls"])
    def test_embeddings_have_the_length_asked_for(self, engine, prompt, pooling):
        answer(engine, prompt)
        embedding = engine.embed(QUESTION, pooling, normalize=True)
        assert sum(value**2 for value in embedding.values) == pytest.approx(1, abs=1e-5)
        assert engine.embed(QUESTION, pooling, normalize=True) == embedding
        assert engine.embed(SYSTEM, pooling, normalize=True) != embedding
        assert engine.embed(QUESTION, pooling, normalize=False) != embedding
        if engine.facts.embedding_size is not None:
            assert len(embedding.values) == engine.facts.embedding_size
        if engine.facts.capabilities.tokenizer:
            assert embedding.tokens == len(engine.tokenize(QUESTION))


def first_units(prompt, units):
    """The beginning of a prompt."""
    return Prompt(prompt.kind, prompt.data[: units * prompt.unit_bytes])
