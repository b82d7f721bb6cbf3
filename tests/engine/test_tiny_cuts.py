"""However a prompt is cut, and whoever computed its beginning, the numbers are the same."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rkllmd.engine import open_engine
from rkllmd.runs import GREEDY, LoadSpec, Prompt
from tests.engine.contract_suite import answer, save
from tools.random_model import Sizes, write_random_model

SHAPES = {
    "grouped": Sizes(heads=8, kv_heads=2, context=128),
    "untied": Sizes(width=96, inner=200, heads=3, kv_heads=3, tied=False, context=128),
}
ROOT = Path(__file__).resolve().parent.parent.parent
CONTINUE = """
import sys
from rkllmd.engine import open_engine
from rkllmd.runs import GREEDY, Limits, LoadSpec, Prompt
model, state, most, *tokens = sys.argv[1:]
engine = open_engine("tiny").load(LoadSpec(model), lambda *_: None)
engine.load_state(__import__("pathlib").Path(state))
prompt = Prompt.of_tokens(map(int, tokens))
limits = Limits(int(most))
stats = engine.run(prompt, GREEDY, limits, lambda _: None, lambda: False, lambda *_: None)
print(stats.cached_tokens, *engine.held().tokens)
"""


@pytest.fixture(scope="module", params=SHAPES)
def model(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.gguf"
    write_random_model(path, SHAPES[request.param], seed=5)
    return path, open_engine("tiny").load(LoadSpec(str(path)), lambda *_: None)


PROMPTS = st.lists(st.integers(0, 500), min_size=2, max_size=90)


def numbers(engine, tokens):
    """Logits, keys and values after a prompt that is computed from what is held."""
    engine._compute(Prompt.of_tokens(tokens).tokens[len(engine._held) :])
    held = slice(0, len(tokens))
    network = engine._model
    return (
        network.logits(engine._hidden),
        network.keys[:, :, held].copy(),
        network.values[:, :, held].copy(),
    )


@given(tokens=PROMPTS, cuts=st.sets(st.integers(1, 89)))
def test_every_bit_is_the_same_however_a_prompt_is_cut(model, tokens, cuts):
    _, engine = model
    engine.reset()
    whole = numbers(engine, tokens)
    engine.reset()
    for cut in sorted(cut for cut in cuts if cut < len(tokens)):
        numbers(engine, tokens[:cut])
    for ours, wanted in zip(numbers(engine, tokens), whole, strict=True):
        assert ours.tobytes() == wanted.tobytes()


@given(tokens=PROMPTS, other=PROMPTS, shared=st.integers(0, 89))
def test_what_was_held_before_leaves_no_trace(model, tokens, other, shared):
    _, engine = model
    engine.reset()
    whole = answer(engine, tokens, 20)
    engine.reset()
    answer(engine, [*tokens[:shared], *other][:100], 20)
    again = answer(engine, tokens, 20)
    assert (again.said, again.text) == (whole.said, whole.text)


@given(tokens=PROMPTS, cut=st.integers(1, 89))
def test_a_state_is_continued_as_if_it_had_been_computed(model, tokens, cut, tmp_path_factory):
    _, engine = model
    cut = min(cut, len(tokens) - 1)
    engine.reset()
    wanted = answer(engine, tokens, 20).said
    path = tmp_path_factory.getbasetemp() / "state"
    engine.reset()
    save(engine, path, tokens[:cut])
    engine.reset()
    assert engine.load_state(path) == cut
    continued = answer(engine, tokens, 20)
    assert continued.stats.cached_tokens == cut
    assert continued.said == wanted


@settings(max_examples=4, deadline=None)
@given(tokens=PROMPTS, cut=st.integers(1, 89))
def test_a_new_process_continues_a_state(model, tokens, cut, tmp_path_factory):
    path, engine = model
    cut = min(cut, len(tokens) - 1)
    engine.reset()
    wanted = answer(engine, tokens, 20).said
    state = tmp_path_factory.getbasetemp() / "state"
    save(engine, state, tokens[:cut])
    command = [sys.executable, "-c", CONTINUE, path, state, "20", *map(str, tokens)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    cached, *held = map(int, said.split())
    assert cached == cut
    assert held[len(tokens) :] == wanted


def test_numbers_that_are_not_finite_end_a_run_and_do_not_stay(model):
    from rkllmd.errors import Code, EngineError

    _, engine = model
    engine.reset()
    wanted = answer(engine, [1, 2, 3], 5).said
    gain = engine._model.norm
    kept = gain.copy()
    gain[:] = np.nan
    engine._model.keys[:] = np.nan
    with pytest.raises(EngineError, match="not finite") as found:
        answer(engine, [1, 2, 3, 4], 5, GREEDY)
    assert found.value.code is Code.ENGINE_ERROR
    assert engine.held().units == 0
    gain[:] = kept
    assert answer(engine, [1, 2, 3], 5).said == wanted
