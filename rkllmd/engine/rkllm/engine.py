"""The contract of `engine/contract.py` on the vendor's runtime.

Prompts are rendered by us: the empty chat template is set after load, so that the runtime takes a
prompt as it is, and every run has the whole prompt with `keep_history` 0. What the runtime holds is
compared with the prompt by the runtime itself.

Where releases differ:

    before 1.2.1    a run says nothing of its tokens but in its log, which is read along
    before 1.3.0    sampling is fixed at load, so that a run is greedy only where the model's is;
                    `max_tokens` is kept by aborting from the callback
    1.1             no template to switch off, and nothing is reused but a loaded file

There is no end at the window: the runtime shifts it and goes on, so `max_tokens` alone ends a run,
and what is held after a shift is let go. How long a prompt is, is not known before it has run.
Prefill cannot be interrupted: an abort takes effect at the first token.

Images and sounds are never part of what is held. Up to 1.2.3 the runtime compares a prompt with
what it holds as far as the first image; what later releases compare there is not known, and two
images have the same tokens. So a prompt with images runs behind held text only where that text
stands before the first of them, and everything is let go of afterwards.
"""

import shutil
import time
from array import array
from dataclasses import replace
from pathlib import Path

import numpy as np

from rkllmd.engine.contract import OnPiece, OnProgress, ShouldStop
from rkllmd.engine.pooling import pool
from rkllmd.engine.rkllm.answer import Answer
from rkllmd.engine.rkllm.counts import Counter, Measured
from rkllmd.engine.rkllm.media import Given, Senses, take
from rkllmd.engine.rkllm.messages import refuses_state, run_table
from rkllmd.engine.rkllm.state_file import count_tokens
from rkllmd.errors import Code, EngineError, RequestError, RkllmdError, StorageError
from rkllmd.native.functions import CallFailed
from rkllmd.native.handle import Handle, Perf, Request
from rkllmd.native.layouts import Layout
from rkllmd.native.listening import Listening
from rkllmd.native.rkllm import InferMode
from rkllmd.runs import (
    GREEDY,
    YES,
    Capability,
    Embedding,
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

TOKENS_RESERVED = 4
"""The window less this is what a prompt may have (seen in the log of 1.1 and 1.2)."""
FREE_BYTES_MIN = 1 << 20
"""A state file that was not written with less than this left on the disk lacked the space."""
LOGITS_PROMPT_BYTES_MAX = 1024
"""The runtime makes the logits of every token of a prompt, each as long as the vocabulary."""
ABILITIES = {"image": "images", "audio": "audio"}
ADAPTER = "adapter"
NOTHING = Prompt("text", b"")


class RkllmEngine:
    """A model on the NPU."""

    def __init__(
        self,
        layout: Layout,
        handle: Handle,
        facts: ModelFacts,
        senses: Senses,
        *,
        has_lora: bool,
    ) -> None:
        self.facts = facts
        self._senses = senses
        self._width: int | None = None
        """Of the hidden states, once there was a run that gave some."""
        self._layout = layout
        self._handle = handle
        self._lora = ADAPTER if has_lora else None
        self._counter = Counter()
        self._loaded = False
        self._file_tokens = 0
        """How many tokens of what is held are those of a file that was saved or loaded."""
        self._prompt: Prompt | None = None
        self._prompt_count = 0
        self._held: Prompt | None = NOTHING
        self._held_tokens = 0

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
        del on_progress  # the runtime does not say how far it is
        if should_stop():
            return RunStats(0, 0, 0, 0, 0.0, 0.0, "cancelled")
        tokens_max = min(limits.max_tokens, self.facts.context_tokens)
        answer = Answer(tokens_max, on_piece, should_stop, self._handle.abort)
        return self._run(prompt, sampling, answer)

    def save_state(
        self, path: Path, prompt: Prompt, should_stop: ShouldStop, on_progress: OnProgress
    ) -> StateInfo | None:
        """Write the state after `prompt`: a run that ends at its first token saves it.

        What is held already is saved as it is (not seen on a board yet). Otherwise nothing is held
        before, so that what was prefilled is the whole prompt and the file's count can be compared
        with it. Before 1.3.0 the file may hold the sampled token as well.
        """
        del on_progress
        if should_stop():
            return None
        if prompt.media:
            raise RequestError(Code.UNSUPPORTED, "A state with images or sounds is not saved.")
        if prompt != self._held:
            self.reset()
        path.unlink(missing_ok=True)
        answer = Answer(0, _no_piece, should_stop, self._handle.abort)
        log = Listening()
        try:
            with log:
                stats = self._run(prompt, GREEDY, answer, path)
            self._check_saved(path, stats.prompt_tokens, log.text)
        except EngineError as error:
            if shutil.disk_usage(path.parent).free < FREE_BYTES_MIN:
                raise StorageError(
                    Code.STORAGE_FULL, f"There is no room for the state file {path}."
                ) from error
            raise
        self._set_state_files(YES)
        self._file_tokens = stats.prompt_tokens
        return StateInfo(stats.prompt_tokens, stats.prefilled_tokens, stats.prefill_ms)

    def load_state(self, path: Path) -> int:
        """Hold what the file holds."""
        self.reset()
        tokens = count_tokens(path)
        try:
            self._handle.load_cache(path)
        except CallFailed as error:
            self.reset()
            raise EngineError(
                Code.ENGINE_ERROR, f"The runtime refused the state file {path}."
            ) from error
        self._loaded, self._held = True, None
        self._held_tokens = tokens
        # Before 1.3.0 the last token may be the sampled one, which no other prompt has.
        self._file_tokens = tokens if self._layout >= Layout.V1_3_0 else tokens - 1
        return tokens

    def release_state(self) -> None:
        """Let go of a loaded file's state."""
        if self._loaded:
            self._handle.release_cache()
            self._forget()

    def reset(self) -> None:
        """Hold nothing. It is not known whether clearing also lets go of a loaded file."""
        self.release_state()
        self._handle.clear()
        self._forget()

    def held(self) -> Prompt | None:
        """What the last run left; None for a file, whose text the engine does not know."""
        return self._held

    def tokenize(self, text: str) -> list[int]:
        """The runtime keeps its tokenizer to itself."""
        del text
        raise RequestError(Code.UNSUPPORTED, "The NPU runtime has no tokenizer to call.")

    def embed(self, text: str, pooling: Pooling, *, normalize: bool) -> Embedding:
        """The vector of a text, over all of its tokens, so nothing may be cached."""
        self.reset()
        answer = Answer(1, _no_piece, lambda: False, self._handle.abort)
        self._run(Prompt.of_text(text), GREEDY, answer, mode=InferMode.GET_LAST_HIDDEN_LAYER)
        if answer.rows is None:
            raise EngineError(Code.ENGINE_ERROR, "The runtime gave no hidden states.")
        self._width = answer.rows.width
        values = np.frombuffer(answer.rows.values, "<f4")
        rows = values.reshape(answer.rows.count, answer.rows.width)
        return Embedding(pool(rows, pooling, normalize=normalize), len(rows))

    def logits(self, prompt: Prompt) -> Logits:
        """The logits after a prompt, which is computed anew."""
        capability = self.facts.capabilities.logits
        if not capability:
            raise RequestError(Code.UNSUPPORTED, f"There are no logits: {capability.reason}.")
        if len(prompt.data) > LOGITS_PROMPT_BYTES_MAX:
            raise RequestError(
                Code.BAD_REQUEST,
                f"prompt: found {len(prompt.data)} bytes, allowed: {LOGITS_PROMPT_BYTES_MAX}",
                member="prompt",
            )
        self.reset()
        answer = Answer(1, _no_piece, lambda: False, self._handle.abort)
        self._run(prompt, GREEDY, answer, mode=InferMode.GET_LOGITS)
        if answer.rows is None:
            raise EngineError(Code.ENGINE_ERROR, "The runtime gave no logits.")
        return Logits(array("f", answer.rows.values), answer.rows.count)

    def close(self) -> None:
        """Give the NPU's memory back."""
        self._handle.close()

    def _run(
        self,
        prompt: Prompt,
        sampling: Sampling,
        answer: Answer,
        save_to: Path | None = None,
        mode: InferMode = InferMode.GENERATE,
    ) -> RunStats:
        given = self._given(prompt)
        request = Request(
            given.text, mode, max(1, answer.tokens_max), sampling, self._lora, save_to,
            given.images, given.sounds,
        )  # fmt: skip
        held_before = self._tokens_held()
        began = time.monotonic()
        try:
            perf = self._perform(request, answer)
        except CallFailed as error:
            self.reset()
            raise self._run_error(given, answer, error) from None
        except BaseException:
            self.reset()
            raise
        ended = time.monotonic()
        first = answer.first_at or ended
        tokens = 0
        if perf is not None:
            tokens = self._prompt_tokens(prompt, given, answer, perf, held_before)
        perf = perf or Perf(0, 0.0, 0.0)
        if prompt.media:
            self.reset()
            self._learn(**{ABILITIES[one.kind]: YES for one in prompt.media})
        elif tokens + answer.sampled > self.facts.context_tokens:
            self.reset()  # the window was shifted, so the prompt's beginning is gone
        else:
            self._remember(prompt, answer, tokens)
        return RunStats(
            prompt_tokens=tokens,
            prefilled_tokens=perf.prefilled_tokens,
            cached_tokens=tokens - perf.prefilled_tokens,
            generated_tokens=answer.generated,
            prefill_ms=perf.prefill_ms or (first - began) * 1000,
            decode_ms=perf.decode_ms or (ended - first) * 1000,
            reason=answer.reason,
        )

    def _given(self, prompt: Prompt) -> Given:
        """What the runtime gets, checked; and what it holds then may be compared with it."""
        if not prompt.media:
            return Given(_checked(prompt), None, None)
        if self._width is None:
            # Its rows say how wide the model is; what was held is lost to it, once.
            self.embed("a", "last", normalize=False)
        assert self._width is not None, "rows have a width"
        given = take(prompt, self._senses, self._width, self._layout)
        if given.rows > self._room:
            raise self._overflow()
        before_media = Prompt("text", prompt.data[: prompt.data.index(b"\0")])
        # What a loaded file holds, the caller knows.
        if self._held is not None and not before_media.starts_with(self._held):
            self.reset()
        return given

    def _perform(self, request: Request, answer: Answer) -> Perf | None:
        if self._layout >= Layout.V1_2_1:
            self._handle.run(request, answer.on_event)
            perf = answer.perf
        else:
            log = Listening()
            with log:
                self._handle.run(request, answer.on_event)
            perf = run_table(log.text)
        if answer.failed:
            raise EngineError(Code.ENGINE_ERROR, "The runtime reported an error in a run.")
        return perf

    def _prompt_tokens(
        self, prompt: Prompt, given: Given, answer: Answer, perf: Perf, held_before: int
    ) -> int:
        # The counter knows of text alone, and of an image each row is a token.
        held_after = self._handle.held_tokens()
        measured = Measured(
            prompt_bytes=len(given.text.encode()),
            prefilled=perf.prefilled_tokens - given.rows,
            held_before=held_before,
            shareable=self._shareable(prompt),
            held_after=None if held_after is None else held_after - given.rows,
            sampled=answer.sampled,
            ending=answer.ending or "ended",
        )
        return self._counter.prompt_tokens(measured) + given.rows

    def _shareable(self, prompt: Prompt) -> int:
        if self._held is not None and self._held.data and prompt.starts_with(self._held):
            return self._held_tokens
        if self._prompt is not None and prompt.starts_with(self._prompt):
            return self._prompt_count
        return self._file_tokens

    def _tokens_held(self) -> int:
        """A loaded file counts as held even where the runtime does not say so before a run."""
        return self._handle.held_tokens() or (
            self._held_tokens if self._loaded or self._layout < Layout.V1_2_1 else 0
        )

    def _remember(self, prompt: Prompt, answer: Answer, tokens: int) -> None:
        if self._layout is Layout.V1_1:
            return  # it keeps nothing of a run, and a loaded file stays what it was
        self._prompt, self._prompt_count = prompt, tokens
        said = bytes(answer.kept).decode(errors="ignore")
        self._held = Prompt("text", prompt.data + said.encode())
        self._held_tokens = tokens + max(0, answer.sampled - 1)

    def _forget(self) -> None:
        self._loaded, self._file_tokens = False, 0
        self._prompt, self._prompt_count = None, 0
        self._held, self._held_tokens = NOTHING, 0

    def _run_error(self, given: Given, answer: Answer, error: CallFailed) -> RkllmdError:
        """A prompt over the window fails without a callback (1.3.1), and without a word before."""
        if answer.first_at is None and len(given.text.encode()) + given.rows > self._room:
            return self._overflow()
        return error

    @property
    def _room(self) -> int:
        return self.facts.context_tokens - TOKENS_RESERVED

    def _overflow(self) -> RequestError:
        return RequestError(
            Code.CONTEXT_OVERFLOW,
            f"The prompt does not fit into the context of {self.facts.context_tokens} tokens.",
            context_tokens=self.facts.context_tokens,
        )

    def _check_saved(self, path: Path, tokens: int, log: str) -> None:
        if not path.exists() and refuses_state(log):
            reason = "The runtime cannot save this model's state."
            self._set_state_files(cannot(reason))
            raise RequestError(Code.UNSUPPORTED, reason)
        saved = count_tokens(path)
        if saved < tokens:
            raise EngineError(
                Code.ENGINE_ERROR, f"The runtime saved {saved} of {tokens} tokens to {path}."
            )

    def _set_state_files(self, capability: Capability) -> None:
        self._learn(state_files=capability)

    def _learn(self, **capabilities: Capability) -> None:
        known = replace(self.facts.capabilities, **capabilities)
        self.facts = replace(self.facts, capabilities=known)


def _checked(prompt: Prompt) -> str:
    if prompt.kind != "text" or not prompt.data:
        raise RequestError(Code.BAD_REQUEST, "The NPU runtime takes a text that is not empty.")
    if b"\0" in prompt.data:
        raise RequestError(
            Code.BAD_REQUEST, "The prompt has a NUL character, which the NPU runtime cannot take."
        )
    return prompt.text


def _no_piece(_piece: bytes) -> None:
    """The text of a run that is made for its state or its rows is of no interest."""
