"""Which token is chosen, and how often."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.engine.tiny.sampler import Sampler, distribution, penalised
from rkllmd.errors import EngineError
from rkllmd.runs import GREEDY, Sampling

LOGITS = st.lists(
    st.floats(-30, 30, width=32), min_size=2, max_size=60
).map(lambda values: np.array(values, np.float32))  # fmt: skip
SAMPLINGS = st.builds(
    Sampling,
    temperature=st.floats(1e-6, 5),
    top_k=st.integers(0, 70),
    top_p=st.floats(0.01, 1),
    seed=st.integers(-(1 << 70), 1 << 70),
)


@given(logits=LOGITS)
def test_greedy_takes_the_best_and_the_lower_of_two(logits):
    assert Sampler(GREEDY).choose(logits, []) == int(np.flatnonzero(logits == logits.max())[0])


@given(logits=LOGITS, sampling=SAMPLINGS)
def test_the_distribution_is_the_one_described(logits, sampling):
    tokens, chances = distribution(logits, sampling)
    order = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
    kept = order[: sampling.top_k or None]
    weights = np.exp(logits[kept].astype(float) - logits[kept[0]])
    reached = np.cumsum(weights / weights.sum())
    enough = 1 + int(np.sum(reached < sampling.top_p)) if sampling.top_p < 1 else len(kept)
    assert tokens.tolist() == kept[: min(enough, len(kept))]
    assert chances.sum() == pytest.approx(1)
    assert (np.diff(chances) <= 1e-12).all()


@given(logits=LOGITS, sampling=SAMPLINGS)
def test_a_seed_decides(logits, sampling):
    one, other = Sampler(sampling), Sampler(sampling)
    drawn = [one.choose(logits, []) for _ in range(10)]
    assert drawn == [other.choose(logits, []) for _ in range(10)]
    assert set(drawn) <= set(distribution(logits, sampling)[0].tolist())


def test_tokens_come_as_often_as_they_should():
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    sampler = Sampler(Sampling(temperature=1, top_k=0, top_p=1, seed=3))
    counts = np.bincount([sampler.choose(logits, []) for _ in range(4000)], minlength=4)
    np.testing.assert_allclose(counts / 4000, [0.5, 0.3, 0.15, 0.05], atol=0.03)


def test_penalties_are_those_described():
    logits = np.array([2.0, -2.0, 1.0, 0.5], np.float32)
    sampling = Sampling(repeat_penalty=2, frequency_penalty=0.25, presence_penalty=0.5)
    found = penalised(logits, [0, 0, 1], sampling)
    assert found.tolist() == [1.0 - 0.5 - 0.5, -4.0 - 0.25 - 0.5, 1.0, 0.5]
    assert logits.tolist() == [2.0, -2.0, 1.0, 0.5]


def test_penalties_look_at_the_last_tokens_only():
    greedy = Sampling(temperature=0, presence_penalty=9)
    logits = np.array([1.0, 0.9], np.float32)
    assert Sampler(greedy).choose(logits, [0] + [1] * 63) == 1 - int(0.9 - 9 < 1.0 - 9)
    assert Sampler(greedy).choose(logits, [0] + [1] * 64) == 0
    assert Sampler(greedy).choose(logits, [0]) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(bad):
    with pytest.raises(EngineError, match="not finite"):
        Sampler(GREEDY).choose(np.array([1, bad, 0], np.float32), [])
