"""How the next token is chosen: llama.cpp's samplers, in the order of all engines.

Penalties over the last `PENALTY_TOKENS` tokens, the best `top_k`, the fewest of them that reach
`top_p`, the temperature, then chance; temperature 0 takes the best after the penalties.

The best of all is looked for here: llama.cpp first makes a list of all tokens, which takes a tenth
of a millisecond of the 6 that a token of a small model takes (100 million parameters, AMD EPYC).
"""

import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from rkllmd.engine.llama.library import Library
from rkllmd.errors import Code, EngineError
from rkllmd.runs import Sampling

Logits: TypeAlias = npt.NDArray[np.float32]

PENALTY_TOKENS = 64
NO_PENALTIES = (1.0, 0.0, 0.0)
SEED_RANDOM = 0xFFFFFFFF
"""With this one llama.cpp draws a seed by itself."""


class Sampler:
    """The choices of one run."""

    def __init__(self, library: Library, sampling: Sampling, before: Sequence[int]) -> None:
        """Its penalties know the tokens `before`, a prompt."""
        self._call = library.call
        self._takes_best = sampling.temperature <= 0 and penalties_of(sampling) == NO_PENALTIES
        self._chain = self._call.sampler_chain_init(self._call.sampler_chain_default_params())
        for sampler in self._samplers(sampling, before):
            self._call.sampler_chain_add(self._chain, sampler)

    def choose(self, context: int, logits: Logits) -> int:
        """A token from the logits, those that were computed last; it counts as said."""
        if self._takes_best:
            best = int(logits.argmax())
            if not math.isfinite(logits[best]):  # argmax finds a NaN before anything else
                raise EngineError(
                    Code.ENGINE_ERROR, "The model computed numbers that are not finite."
                )
            return best
        return int(self._call.sampler_sample(self._chain, context, -1))

    def close(self) -> None:
        """Give everything back."""
        self._call.sampler_free(self._chain)

    def _samplers(self, sampling: Sampling, before: Sequence[int]) -> Iterator[int]:
        penalties = penalties_of(sampling)
        if penalties != NO_PENALTIES:
            penalty = self._call.sampler_init_penalties(PENALTY_TOKENS, *penalties)
            for token in before[-PENALTY_TOKENS:]:
                self._call.sampler_accept(penalty, token)
            yield penalty
        if sampling.temperature <= 0:
            yield self._call.sampler_init_greedy()
            return
        if sampling.top_k > 0:
            yield self._call.sampler_init_top_k(sampling.top_k)
        if sampling.top_p < 1:
            yield self._call.sampler_init_top_p(sampling.top_p, 1)
        yield self._call.sampler_init_temp(sampling.temperature)
        seed = SEED_RANDOM if sampling.seed is None else sampling.seed % SEED_RANDOM
        yield self._call.sampler_init_dist(seed)


def penalties_of(sampling: Sampling) -> tuple[float, float, float]:
    """For repeating, in llama.cpp's order."""
    return sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty
