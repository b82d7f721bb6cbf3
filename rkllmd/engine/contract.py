"""What every engine promises: the full prompt goes in, only what is new is computed.

Semantics, the same for all engines (they are those measured on the vendor's runtime):

- A run gets the *full* rendered prompt. The engine compares it with the state that it holds, from
  the start, keeps what is equal, forgets the rest, and computes what is new. At least the last
  token of a prompt is computed again when all of it is held and its logits are needed (the vendor's
  runtime keeps them; then `prefilled_tokens` may be 0).
- What it holds afterwards is the prompt and what was generated. `held()` says it.
- `save_state(path, prompt)` makes the engine hold exactly `prompt` and writes that state.
  `load_state(path)` replaces what is held by a file's content; a file that does not fit the loaded
  model is refused with an `EngineError`, and the engine then holds nothing.
- `should_stop` is asked before every prefill chunk (where `interruptible_prefill`) and before every
  token. After it said yes nothing more is computed, the state stays valid and is kept.
- `on_piece` gets the bytes of each generated token as they come; characters may be cut. It is
  called on the thread that called `run`.
- A prompt with `media` has a mark in its text for each of them. Images and sounds are computed anew
  in every run: of what is held only text that stands before the first of them is used, and
  afterwards the engine holds nothing. One that does not fit the model is refused with a
  `RequestError` before anything is computed. A file that was loaded holds only text; that the
  prompt begins with that text is up to the caller.
- With `sampling.constraint` only tokens that its forms allow are chosen, and a run ends by itself
  only where a form is complete. A form that cannot be kept is refused before anything is computed.
- Every failure is an `RkllmdError` of `errors.py` (`load_failed`, `out_of_memory`, `engine_error`,
  `context_overflow`, `unsupported`). After an `engine_error` the engine holds nothing, but goes on.

An engine is used by one thread at a time, except `tokenize`, which may be called at any time.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from rkllmd.runs import (
    Embedding,
    Limits,
    LoadSpec,
    Logits,
    ModelFacts,
    Pooling,
    Prompt,
    RunStats,
    Sampling,
    StateInfo,
)

OnPiece = Callable[[bytes], None]
ShouldStop = Callable[[], bool]
OnProgress = Callable[[int, int], None]
"""Prefilled tokens so far, and of how many that have to be computed."""


class Engine(Protocol):
    """A loaded model."""

    facts: ModelFacts

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

    def save_state(
        self, path: Path, prompt: Prompt, should_stop: ShouldStop, on_progress: OnProgress
    ) -> StateInfo | None:
        """Write the state after `prompt`; None when it was stopped.

        Who wants the file to outlast a power cut flushes it; not everybody does.
        """

    def load_state(self, path: Path) -> int:
        """Hold what the file holds; the number of its tokens."""

    def release_state(self) -> None:
        """Let go of a loaded file's state."""

    def reset(self) -> None:
        """Hold nothing."""

    def held(self) -> Prompt | None:
        """What the state covers, None where the engine cannot say."""

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text in which special tokens may stand literally."""

    def embed(self, text: str, pooling: Pooling, *, normalize: bool) -> Embedding:
        """The vector of a text. The state that was held may be lost."""

    def logits(self, prompt: Prompt) -> Logits:
        """The logits of what comes after a prompt. The state that was held may be lost."""

    def close(self) -> None:
        """Give everything back."""


class EngineModule(Protocol):
    """What `open_engine` finds in an engine's room."""

    def load(self, spec: LoadSpec, on_progress: OnProgress) -> Engine:
        """Load a model."""
