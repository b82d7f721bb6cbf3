"""How fast a model reads prompts and writes answers, as far as it was measured. Pure.

The fastest that was seen counts: what could not come in time even so certainly cannot.
"""

from dataclasses import dataclass

from rkllmd.runs import Prompt, RunStats

TELLING_TOKENS = 32
"""A shorter prefill says more of its beginning and end than of its speed."""
TELLING_ANSWER_TOKENS = 8
"""Likewise."""


@dataclass(slots=True)
class Pace:
    """Seconds for each token and each unit of a prompt, and for each token of an answer.

    0 while nothing was measured.
    """

    token_s: float = 0.0
    unit_s: float = 0.0
    answer_token_s: float = 0.0

    def learn(self, prompt: Prompt, stats: RunStats) -> None:
        """Take in what a run measured."""
        # The first token is chosen from what the prefill computed.
        decoded = stats.generated_tokens - 1
        if stats.generated_tokens >= TELLING_ANSWER_TOKENS and stats.decode_ms > 0:
            answer_token_s = stats.decode_ms / 1000 / decoded
            self.answer_token_s = min(self.answer_token_s or answer_token_s, answer_token_s)
        if stats.prefilled_tokens < TELLING_TOKENS or stats.prefill_ms <= 0:
            return
        token_s = stats.prefill_ms / 1000 / stats.prefilled_tokens
        unit_s = token_s * stats.prompt_tokens / prompt.units
        self.token_s = min(self.token_s or token_s, token_s)
        self.unit_s = min(self.unit_s or unit_s, unit_s)
