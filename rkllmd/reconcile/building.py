"""Making a state, and proving it. One idea: nothing is believed that an engine did not count.

A proof has three canaries, short texts behind the prefix. For each one the engine is asked twice:
once from what it computed itself (the first of them from nothing at all), and once from the file,
loaded into a cleared engine. The counts must fit in all three: nothing of the prefix may be
computed again. The first greedy words must be the same in most: arithmetic may depend on how a
prompt is cut, so that a near-tie flips although the state is right; a disagreement is noted. An
engine that cannot be asked to be greedy says something else each time; there the counts alone are
the proof.

A state that proved good is left in the engine: the next request finds it there. The caller has the
worker to itself. A stop is heeded at every step and raises `GaveWay`; the staged file is then the
caller's to discard.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rkllmd.runs import Limits, Prompt, RunStats, StateInfo

CANARIES = ("Hello", "What time is it?", "1 2 3")
CANARY_TOKENS = 6
WORDS_AGREE_MIN = 2
BOUNDARY_TOKENS = 1
"""The prefix's last token may merge with what follows, or be computed again for its logits."""


class GaveWay(Exception):  # the worker is wanted for something more urgent; try again
    """Raised by every call of an `Engine` that was stopped."""


class Engine(Protocol):
    """What of a worker is needed here. Each call can be stopped, and then raises `GaveWay`."""

    async def extend(self, prompt: Prompt, words: str) -> Prompt:
        """A prompt with a text behind it."""

    async def run(self, prompt: Prompt, limits: Limits) -> tuple[RunStats, str]:
        """A greedy run and its text."""

    async def save_state(self, path: Path, prompt: Prompt) -> StateInfo:
        """Write the state after a prompt."""

    async def load_state(self, path: Path, prefix: Prompt) -> None:
        """Hold a file's state, which is the one after a prefix."""

    async def reset(self) -> None:
        """Hold nothing."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What the canaries said."""

    canaries: int
    counts_fit: int
    words_agree: int
    """As many as there are canaries where words prove nothing."""
    note: str
    first_token_ms: float
    """Of the first canary, from nothing."""
    first_token_cached_ms: float
    """Of the same one, from the file."""
    nothing_reused: bool
    """No canary found a single token of the state that it came to: the engine has no use for it."""

    @property
    def problem(self) -> str:
        """Why the state cannot be used; empty when it can."""
        if self.counts_fit < self.canaries:
            return f"the engine did not reuse the state: {self.note}"
        if self.words_agree < WORDS_AGREE_MIN:
            return f"the state changes what the model says: {self.note}"
        return ""


@dataclass(frozen=True, slots=True)
class Built:
    """A new state's facts."""

    tokens: int
    build_ms: float
    proof: Proof


async def build(engine: Engine, prefix: Prompt, path: Path, *, greedy: bool) -> Built:
    """Write the state after a prefix to a path, and prove it."""
    began = _now()
    computed = await _canaries_from_scratch(engine, prefix)
    saved = await engine.save_state(path, prefix)
    proof = await _prove(engine, prefix, path, saved.tokens, computed, greedy=greedy)
    return Built(saved.tokens, (_now() - began) * 1000, proof)


async def verify(engine: Engine, prefix: Prompt, path: Path, tokens: int, *, greedy: bool) -> Proof:
    """Prove a state that is there."""
    computed = await _canaries_from_scratch(engine, prefix)
    return await _prove(engine, prefix, path, tokens, computed, greedy=greedy)


Said = tuple[RunStats, str]


async def _canaries_from_scratch(engine: Engine, prefix: Prompt) -> Sequence[Said]:
    """The first canary from nothing, the others on what the engine then holds by itself."""
    await engine.reset()
    return [await _canary(engine, prefix, words) for words in CANARIES]


async def _prove(
    engine: Engine,
    prefix: Prompt,
    path: Path,
    tokens: int,
    computed: Sequence[Said],
    *,
    greedy: bool,
) -> Proof:
    loaded = []
    for words in CANARIES:
        await engine.reset()
        await engine.load_state(path, prefix)
        loaded.append(await _canary(engine, prefix, words))
    fitting = [stats.cached_tokens >= tokens - BOUNDARY_TOKENS for stats, _ in loaded]
    agreeing = [
        not greedy or one[1] == other[1] for one, other in zip(loaded, computed, strict=True)
    ]
    proof = Proof(
        canaries=len(CANARIES),
        counts_fit=sum(fitting),
        words_agree=sum(agreeing),
        note=_note(tokens, loaded, computed, greedy=greedy),
        first_token_ms=computed[0][0].prefill_ms,
        first_token_cached_ms=loaded[0][0].prefill_ms,
        nothing_reused=not any(stats.cached_tokens for stats, _ in loaded),
    )
    if proof.problem:
        await engine.reset()
    return proof


def _note(tokens: int, loaded: Sequence[Said], computed: Sequence[Said], *, greedy: bool) -> str:
    notes = []
    for words, (stats, said), (_, expected) in zip(CANARIES, loaded, computed, strict=True):
        if stats.cached_tokens < tokens - BOUNDARY_TOKENS:
            notes.append(
                f"with {words!r} it had {stats.cached_tokens} of {tokens} tokens "
                f"and computed {stats.prefilled_tokens}"
            )
        elif greedy and said != expected:
            notes.append(f"with {words!r} it said {said!r} where {expected!r} was expected")
    return "; ".join(notes)


async def _canary(engine: Engine, prefix: Prompt, words: str) -> Said:
    prompt = await engine.extend(prefix, words)
    return await engine.run(prompt, Limits(CANARY_TOKENS))


def _now() -> float:
    return asyncio.get_running_loop().time()
