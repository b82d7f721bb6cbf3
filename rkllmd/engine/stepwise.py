"""What engines share that compute step by step: what is held, what is new, and when a run ends.

`_held` lists the tokens whose keys and values the model has, from the first place on. A run keeps
what the prompt has in common with them, forgets the rest, and computes what is missing in chunks,
between which it can be stopped. After an answer everything is held but its last token, whose keys
and values nobody has needed yet. An error of the engine leaves nothing held.

An engine says how tokens are computed and forgotten, how one is chosen and spelled, and how its
state is written; the rest of the contract is here.
"""

import time
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from rkllmd.engine.constraint import Constrainer, Course, Free, Vocabulary, capability
from rkllmd.engine.contract import OnPiece, OnProgress, ShouldStop
from rkllmd.engine.measures import milliseconds, resident_bytes
from rkllmd.engine.pooling import pool
from rkllmd.engine.window import checked_tokens
from rkllmd.errors import Code, EngineError, RequestError
from rkllmd.runs import (
    YES,
    Capabilities,
    Capability,
    Embedding,
    EndReason,
    Limits,
    Logits,
    ModelFacts,
    Pooling,
    Prompt,
    RunStats,
    Sampling,
    StateInfo,
    cannot,
)

Tokens: TypeAlias = "array[int]"
Rows: TypeAlias = npt.NDArray[np.float32]


class StepwiseEngine(ABC):
    """A loaded model whose every step is ours."""

    facts: ModelFacts
    _vocabulary: int
    """How many tokens the model knows."""
    _window: int
    """How many it can hold."""

    def __init__(self) -> None:
        self._held: Tokens = array("i")

    def run(
        self,
        prompt: Prompt,
        sampling: Sampling,
        limits: Limits,
        on_piece: OnPiece,
        should_stop: ShouldStop,
        on_progress: OnProgress,
    ) -> RunStats:
        """Answer a prompt."""
        wanted_anew = 1 if limits.max_tokens else 0
        tokens = self._tokens(prompt, room_for=wanted_anew)
        course = self._constrainer.begin(sampling.constraint) if sampling.constraint else Free()
        with self._nothing_held_after_an_error():
            start = time.perf_counter()
            cached = self._keep(tokens, all_but=wanted_anew)
            self._prefill(tokens, should_stop, on_progress)
            prefilled = len(self._held) - cached
            prefill_ms = milliseconds(start)
            start = time.perf_counter()
            generated = 0
            reason: EndReason = "cancelled" if len(self._held) < len(tokens) else "length"
            if limits.max_tokens and reason == "length":
                with self._choosing(sampling, course, tokens) as choose:
                    generated, reason = self._decode(
                        choose, course, limits.max_tokens, on_piece, should_stop
                    )
        return RunStats(
            prompt_tokens=len(tokens),
            prefilled_tokens=prefilled,
            cached_tokens=cached,
            generated_tokens=generated,
            prefill_ms=prefill_ms,
            decode_ms=milliseconds(start),
            reason=reason,
            memory_bytes=resident_bytes(),
        )

    def save_state(
        self, path: Path, prompt: Prompt, should_stop: ShouldStop, on_progress: OnProgress
    ) -> StateInfo | None:
        """Write the state after `prompt`; None when it was stopped."""
        tokens = self._tokens(prompt, room_for=0)
        with self._nothing_held_after_an_error():
            start = time.perf_counter()
            cached = self._keep(tokens, all_but=0)
            self._prefill(tokens, should_stop, on_progress)
            if len(self._held) < len(tokens):
                return None
            prefill_ms = milliseconds(start)
            self._write_state(path)
        return StateInfo(len(tokens), len(tokens) - cached, prefill_ms)

    def load_state(self, path: Path) -> int:
        """Hold what the file holds; the number of its tokens."""
        self.reset()
        with self._nothing_held_after_an_error():
            self._held = self._read_state(path)
        return len(self._held)

    def release_state(self) -> None:  # noqa: B027 - there is nothing that an engine would add
        """Let go of a loaded file's state; the file itself is closed already."""

    def reset(self) -> None:
        """Hold nothing."""
        self._held = array("i")

    def held(self) -> Prompt:
        """What the state covers."""
        return Prompt.of_tokens(self._held)

    def embed(self, text: str, pooling: Pooling, *, normalize: bool) -> Embedding:
        """The vector of a text. What was held is lost."""
        tokens = self._tokens(Prompt.of_tokens(self.tokenize(text)), room_for=0)
        with self._nothing_held_after_an_error():
            self.reset()
            vector = pool(self._rows(tokens), pooling, normalize=normalize)
            self.reset()
        return Embedding(vector, len(tokens))

    def logits(self, prompt: Prompt) -> Logits:
        """Nobody asks these engines for them."""
        del prompt
        raise RequestError(Code.UNSUPPORTED, self.facts.capabilities.logits.reason)

    @abstractmethod
    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text in which special tokens may stand literally."""

    @abstractmethod
    def _cut(self, kept: int) -> None:
        """Hold the first tokens only, or none where the state cannot be cut."""

    @abstractmethod
    def _chunk_end(self, place: int) -> int:
        """How far is computed from a place on without asking whether to stop."""

    @abstractmethod
    def _compute(self, tokens: Tokens, *, to_choose: bool = True) -> None:
        """Compute tokens behind those that are held, and hold them too.

        `to_choose` says whether a token may be chosen after them."""

    @abstractmethod
    def _rows(self, tokens: Tokens) -> Rows:
        """Compute tokens where nothing is held; the last layer's row of each."""

    @abstractmethod
    def _choosing(
        self, sampling: Sampling, course: Course, before: Tokens
    ) -> AbstractContextManager[Callable[[], int]]:
        """How a run chooses the token that follows those that are held."""

    @abstractmethod
    def _piece(self, token: int) -> bytes:
        """What a token adds to the text; nothing for one that is not text."""

    @abstractmethod
    def _ends(self, token: int) -> bool:
        """Whether a token ends an answer."""

    @abstractmethod
    def _write_state(self, path: Path) -> None:
        """Write what is held."""

    @abstractmethod
    def _read_state(self, path: Path) -> Tokens:
        """Take a file's state, where nothing is held; the tokens that it covers."""

    def _recover(self) -> None:
        """Be as after loading, whatever an error has left."""
        self.reset()

    def _tokens(self, prompt: Prompt, room_for: int) -> Tokens:
        return checked_tokens(
            prompt,
            self.tokenize,
            vocabulary=self._vocabulary,
            context=self._window,
            room_for=room_for,
        )

    def _keep(self, tokens: Tokens, all_but: int) -> int:
        """Forget what differs from the tokens, and of their last ones what is wanted anew."""
        common = self.held().common_units(Prompt.of_tokens(tokens))
        kept = min(common, len(tokens) - all_but)
        if kept < len(self._held):
            self._cut(kept)
        return len(self._held)

    def _prefill(self, tokens: Tokens, should_stop: ShouldStop, on_progress: OnProgress) -> None:
        """Compute what is missing, unless stopped."""
        kept = len(self._held)
        while (place := len(self._held)) < len(tokens) and not should_stop():
            end = self._chunk_end(place)
            self._compute(tokens[place:end], to_choose=end >= len(tokens))
            on_progress(len(self._held) - kept, len(tokens) - kept)

    def _decode(
        self,
        choose: Callable[[], int],
        course: Course,
        max_tokens: int,
        on_piece: OnPiece,
        should_stop: ShouldStop,
    ) -> tuple[int, EndReason]:
        """Generate; how many tokens, and why no more."""
        room = min(max_tokens, self._window - len(self._held))
        said: Tokens = array("i")
        for generated in range(room):
            if course.complete:
                return generated, "stop"
            if should_stop():
                return generated, "cancelled"
            if said:
                self._compute(said)
            token = choose()
            if self._ends(token):
                return generated, "stop"
            course.take(token)
            said = array("i", (token,))
            on_piece(self._piece(token))
        return room, "stop" if course.complete else "length"

    @cached_property
    def _constrainer(self) -> Constrainer:
        every = range(self._vocabulary)
        pieces = [self._piece(token) for token in every]
        ends = [token for token in every if self._ends(token)]
        return Constrainer(Vocabulary(pieces, ends, self.tokenize))

    @contextmanager
    def _nothing_held_after_an_error(self) -> Iterator[None]:
        try:
            yield
        except EngineError:
            self._recover()
            raise


def capabilities(engine: str, lora: Capability) -> Capabilities:
    """What such an engine can do."""
    return Capabilities(
        state_files=YES,
        tokenizer=YES,
        embeddings=YES,
        logits=cannot(f"the {engine} engine gives tokens only"),
        grammar=capability(),
        run_sampling=YES,
        seed=YES,
        interruptible_prefill=YES,
        lora=lora,
        images=cannot(f"the {engine} engine reads text only"),
        audio=cannot(f"the {engine} engine reads text only"),
    )
