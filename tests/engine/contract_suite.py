"""What any engine has to pass: the sentences of the contract, as tests.

A test module inherits `ContractSuite` and has a fixture `engine_name` and a fixture `model_path`;
engines that cannot save or tokenize need a suite of their own.
"""

from dataclasses import dataclass

import pytest

from rkllmd.engine import open_engine
from rkllmd.errors import Code, RkllmdError
from rkllmd.runs import GREEDY, Limits, LoadSpec, Prompt, RunStats, Sampling

SYSTEM = "You turn lights on and off. Answer in one short sentence, please. " * 4
QUESTION = "Turn on the light in the kitchen."


@dataclass
class Answer:
    """What a run gave."""

    said: list[int]
    text: bytes
    stats: RunStats
    progress: list[tuple[int, int]]


def answer(engine, tokens, most=12, sampling=GREEDY, stop_after=None):
    """Run a prompt; stop when `should_stop` was asked `stop_after` times."""
    pieces, progress, asked = [], [], []

    def should_stop():
        asked.append(1)
        return stop_after is not None and len(asked) > stop_after

    prompt = Prompt.of_tokens(tokens)
    stats = engine.run(
        prompt, sampling, Limits(most), pieces.append, should_stop, lambda *at: progress.append(at)
    )
    assert stats.generated_tokens == len(pieces)
    # The last token's own state is not needed yet, so a context of its own says which it was.
    held = list(engine.held().tokens)
    said = held[len(tokens) :] if len(held) >= len(tokens) else []
    assert held[: len(tokens)] == list(tokens)[: len(held)]
    assert len(said) >= stats.generated_tokens - 1
    return Answer(said, b"".join(pieces), stats, progress)


def save(engine, path, tokens, should_stop=lambda: False):
    return engine.save_state(path, Prompt.of_tokens(tokens), should_stop, lambda *_: None)


class ContractSuite:
    """Inherited by an engine's tests."""

    @pytest.fixture
    def engine(self, engine_name, model_path):
        # Threads that wait for each other would stand still on a busy machine.
        spec = LoadSpec(str(model_path), threads=1)
        engine = open_engine(engine_name).load(spec, lambda *_: None)
        yield engine
        engine.close()
        engine.close()

    @pytest.fixture
    def prompt(self, engine):
        return engine.tokenize(SYSTEM + QUESTION)

    def test_only_what_is_new_is_computed(self, engine, prompt):
        first = answer(engine, prompt).stats
        assert (first.prefilled_tokens, first.cached_tokens) == (len(prompt), 0)
        longer = [*prompt, *engine.tokenize(" And the blinds?")]
        engine.reset()
        answer(engine, prompt, 0)
        second = answer(engine, longer).stats
        assert second.cached_tokens == len(prompt)
        assert second.prefilled_tokens == len(longer) - len(prompt)

    def test_a_held_prompt_computes_one_token_at_most(self, engine, prompt):
        wanted = answer(engine, prompt)
        again = answer(engine, prompt)
        assert again.stats.prefilled_tokens <= 1
        assert again.stats.prefilled_tokens + again.stats.cached_tokens == len(prompt)
        assert again.text == wanted.text

    def test_another_prompt_shares_the_beginning_only(self, engine, prompt):
        other = [*prompt[:20], *engine.tokenize("Close the blinds")]
        wanted = answer(engine, other).text
        engine.reset()
        answer(engine, prompt)
        second = answer(engine, other)
        assert second.text == wanted
        assert 20 <= second.stats.cached_tokens < len(other)

    def test_a_saved_state_is_continued(self, engine, prompt, tmp_path):
        wanted = answer(engine, prompt)
        path = tmp_path / "state"
        cut = len(engine.tokenize(SYSTEM)) - 1
        info = save(engine, path, prompt[:cut])
        assert info.tokens == cut
        assert list(engine.held().tokens) == prompt[:cut]
        answer(engine, engine.tokenize("Something else"))
        assert engine.load_state(path) == cut
        continued = answer(engine, prompt)
        assert continued.stats.cached_tokens == cut
        assert continued.stats.prefilled_tokens == len(prompt) - cut
        assert continued.text == wanted.text
        engine.release_state()

    def test_a_stopped_save_writes_nothing(self, engine, prompt, tmp_path):
        assert save(engine, tmp_path / "state", prompt, lambda: True) is None
        assert not (tmp_path / "state").exists()

    def test_a_foreign_state_is_refused_and_nothing_is_held(self, engine, prompt, tmp_path):
        answer(engine, prompt)
        (tmp_path / "state").write_bytes(b"something else")
        with pytest.raises(RkllmdError) as refused:
            engine.load_state(tmp_path / "state")
        assert refused.value.code is Code.ENGINE_ERROR
        assert engine.held().units == 0

    @pytest.mark.parametrize("stop_after", range(8))
    def test_a_stopped_run_keeps_its_state(self, engine, prompt, stop_after):
        wanted = answer(engine, prompt).text
        engine.reset()
        stopped = answer(engine, prompt, stop_after=stop_after)
        assert stopped.stats.reason == "cancelled"
        assert wanted.startswith(stopped.text)
        assert answer(engine, prompt).text == wanted

    def test_progress_counts_to_what_is_new(self, engine, prompt):
        progress = answer(engine, prompt).progress
        assert progress == sorted(progress)
        assert progress[-1] == (len(prompt), len(prompt))

    def test_length_ends_a_run(self, engine, prompt):
        assert answer(engine, prompt, 3).stats.reason == "length"
        nothing = answer(engine, prompt, 0)
        assert (nothing.stats.generated_tokens, nothing.text) == (0, b"")

    def test_the_context_ends_a_run_and_refuses_a_prompt(self, engine, prompt):
        context = engine.facts.context_tokens
        full = (prompt * context)[:context]
        last = answer(engine, full[: context - 2], 50)
        assert (last.stats.generated_tokens, last.stats.reason) == (2, "length")
        with pytest.raises(RkllmdError) as refused:
            answer(engine, full)
        assert refused.value.code is Code.CONTEXT_OVERFLOW
        assert refused.value.details == {"prompt_tokens": context, "context_tokens": context}

    def test_a_seed_repeats_an_answer(self, engine, prompt):
        sampling = Sampling(temperature=1.0, top_k=0, top_p=1.0, seed=7)
        assert (
            answer(engine, prompt, 20, sampling).text == answer(engine, prompt, 20, sampling).text
        )
        drawn = {
            answer(engine, prompt, 20, Sampling(1.0, 0, 1.0, seed=seed)).text for seed in range(5)
        }
        assert len(drawn) > 1

    @pytest.mark.parametrize("tokens", [[], [-1], [1 << 30]])
    def test_impossible_prompts_are_refused(self, engine, tokens):
        with pytest.raises(RkllmdError) as refused:
            answer(engine, tokens)
        assert refused.value.code is Code.BAD_REQUEST

    def test_embeddings_have_the_length_asked_for(self, engine):
        for pooling in ("last", "mean", "cls"):
            embedding = engine.embed(QUESTION, pooling, normalize=True)
            assert len(embedding.values) == engine.facts.embedding_size
            assert sum(value**2 for value in embedding.values) == pytest.approx(1, abs=1e-5)
            assert embedding.tokens == len(engine.tokenize(QUESTION))
