"""How the next token is chosen from the logits.

In llama.cpp's order: penalties, the best `top_k`, the fewest of them whose probabilities reach
`top_p`, then the temperature, then chance. Penalties look at the last `PENALTY_TOKENS` tokens,
prompt and answer: a token that stands there has its logit divided by `repeat_penalty` (multiplied
where it is negative) and lowered by `frequency_penalty` for each time and by `presence_penalty`
once. Temperature 0 takes the best token after the penalties, the lower number of two equal ones.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numpy.random import default_rng  # now: numpy would import it in the first request

from rkllmd.engine.tiny.gguf import Floats
from rkllmd.errors import Code, EngineError
from rkllmd.runs import Sampling

PENALTY_TOKENS = 64
SEED_MASK = (1 << 64) - 1


class Sampler:
    """The choices of one run."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        seed = sampling.seed
        self._chance = default_rng(None if seed is None else seed & SEED_MASK)
        self._penalises = (
            sampling.repeat_penalty != 1
            or sampling.frequency_penalty != 0
            or sampling.presence_penalty != 0
        )

    def choose(self, logits: Floats, before: Sequence[int]) -> int:
        """The token to follow `before`."""
        if self._penalises:
            logits = penalised(logits, before[-PENALTY_TOKENS:], self._sampling)
        best = int(logits.argmax())
        if not np.isfinite(logits[best]):  # argmax finds a NaN before anything else
            raise EngineError(Code.ENGINE_ERROR, "The model computed numbers that are not finite.")
        if self._sampling.temperature <= 0:
            return best
        tokens, chances = distribution(logits, self._sampling)
        drawn = np.searchsorted(np.cumsum(chances), self._chance.random(), side="right")
        return int(tokens[min(int(drawn), len(tokens) - 1)])


def penalised(logits: Floats, recent: Sequence[int], sampling: Sampling) -> Floats:
    """The logits after the penalties for what was said before."""
    tokens, counts = np.unique(np.asarray(recent, np.int64), return_counts=True)
    changed = logits.copy()
    chosen = changed[tokens]
    repeat = np.float32(sampling.repeat_penalty)
    chosen = np.where(chosen > 0, chosen / repeat, chosen * repeat)
    chosen -= counts * np.float32(sampling.frequency_penalty)
    chosen -= np.float32(sampling.presence_penalty)
    changed[tokens] = chosen
    return changed


def distribution(
    logits: Floats, sampling: Sampling
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The tokens that may be drawn, the likeliest first, and their probabilities."""
    count = sampling.top_k if 0 < sampling.top_k < len(logits) else len(logits)
    tokens = (
        np.argpartition(-logits, count - 1)[:count] if count < len(logits) else np.arange(count)
    )
    tokens = tokens[np.lexsort((tokens, -logits[tokens]))]
    wide = logits[tokens].astype(np.float64)
    if sampling.top_p < 1:
        reached = np.cumsum(softmax(wide))
        kept = int(np.searchsorted(reached, sampling.top_p)) + 1
        tokens, wide = tokens[:kept], wide[:kept]
    return tokens, softmax(wide, sampling.temperature)


def softmax(logits: npt.NDArray[np.float64], temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Probabilities of logits whose first is the greatest."""
    with np.errstate(over="ignore"):  # minus infinity, and no chance, is what is meant
        weights = np.exp((logits - logits[0]) / temperature)
    return np.asarray(weights / weights.sum())
