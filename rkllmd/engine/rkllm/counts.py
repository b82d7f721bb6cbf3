"""How many tokens a prompt has and how many were cached, from what the runtime measures.

The runtime says how many tokens it prefilled (F) and, from 1.2.1 on, how many it holds (K). It does
not say how many the prompt has (P). Cached is P - F, so P is what is worked out here:

1. Nothing was held before the run: everything was prefilled, P = F.
2. Otherwise P = K - (S - lag), where S tokens were sampled. The last sampled token is not part of
   what is held, as nothing was computed from it: the lag is 1 (measured on 1.3.1: after a run of
   one token K is P; and `generate_tokens`, which counts decode steps, is S - 1). Releases before
   1.3.0 may have computed one step more when a run is aborted, and an end-of-turn token may not be
   called back, so the lag is learned for each way to end: every run of case 1 shows it.
3. K does not help: it is not there (before 1.2.1), or does not fit since the window was shifted or
   the cache was dropped. Then it is only known that H tokens could have been shared, those of a
   file or of a prompt that this one extends. They were, P = F + H, when F is nearer to what a
   prompt of this length has without them than to what it has with them, going by the tokens per
   byte of prompts that were counted. Else P = F, which claims nothing.
"""

from dataclasses import dataclass, field

LAG = 1
LAGS_POSSIBLE = (0, 1)


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known once a run is over."""

    prompt_bytes: int
    prefilled: int
    held_before: int
    shareable: int
    """How many of the tokens held before the prompt may begin with, 0 where it is not known."""
    held_after: int | None
    sampled: int
    ending: str
    """How the run ended; runs that end alike lag alike."""


@dataclass(slots=True)
class Counter:
    """Counts prompts, and learns from those that it can count for sure."""

    lags: dict[str, int] = field(default_factory=dict)
    tokens_per_byte: float | None = None

    def prompt_tokens(self, measured: Measured) -> int:
        """How many tokens the prompt has."""
        tokens = self._known(measured)
        if tokens is None:
            return measured.prefilled + (measured.shareable if self._was_shared(measured) else 0)
        self.tokens_per_byte = tokens / measured.prompt_bytes
        return tokens

    def _known(self, measured: Measured) -> int | None:
        if measured.held_before == 0:
            self._learn_lag(measured)
            return measured.prefilled
        if measured.held_after is None:
            return None
        lag = self.lags.get(measured.ending, LAG)
        tokens = measured.held_after - measured.sampled + lag
        fits = measured.prefilled <= tokens <= measured.prefilled + measured.held_before
        return tokens if fits else None

    def _learn_lag(self, measured: Measured) -> None:
        if measured.held_after is None:
            return
        lag = measured.prefilled - measured.held_after + measured.sampled
        if lag in LAGS_POSSIBLE:
            self.lags[measured.ending] = lag

    def _was_shared(self, measured: Measured) -> bool:
        # No token is shorter than a byte.
        if measured.prefilled + measured.shareable > measured.prompt_bytes:
            return False
        if self.tokens_per_byte is None:
            return measured.prefilled < measured.shareable
        whole = self.tokens_per_byte * measured.prompt_bytes
        return measured.prefilled < whole - measured.shareable / 2
