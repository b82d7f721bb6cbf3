"""The tiny engine behind the engine contract: what is held, what is new, and when a run ends.

`_held` lists the tokens whose keys and values are in the model's cache, from the first place on. A
run keeps what the prompt has in common with them, drops the rest, and computes what is missing in
chunks of `CHUNK_TOKENS`, each a few milliseconds long. After an answer everything is held but its
last token, whose keys and values nobody has needed yet.

Errors of a run leave nothing held, and the cache is cleared then, so that a number that is not
finite cannot reach the next run.
"""

import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np

from rkllmd import __version__
from rkllmd.engine.constraint import Constrainer, Course, Free, Vocabulary, capability
from rkllmd.engine.contract import OnPiece, OnProgress, ShouldStop
from rkllmd.engine.measures import milliseconds, resident_bytes
from rkllmd.engine.tiny.gguf import Floats, damaged, open_gguf
from rkllmd.engine.tiny.sampler import Sampler
from rkllmd.engine.tiny.shape import ModelShape
from rkllmd.engine.tiny.state import identity, read_state, write_state
from rkllmd.engine.tiny.tokenizer import Tokenizer
from rkllmd.engine.tiny.transformer import TILE, Transformer
from rkllmd.engine.window import checked_tokens, context_of
from rkllmd.errors import Code, EngineError
from rkllmd.runs import (
    YES,
    Capabilities,
    Embedding,
    EndReason,
    Limits,
    LoadSpec,
    ModelFacts,
    Pooling,
    Prompt,
    RunStats,
    Sampling,
    StateInfo,
    cannot,
)

CHUNK_TOKENS = 4 * TILE
CAPABILITIES = Capabilities(
    state_files=YES,
    tokenizer=YES,
    embeddings=YES,
    logits=cannot("the tiny engine gives tokens only"),
    grammar=capability(),
    run_sampling=YES,
    seed=YES,
    interruptible_prefill=YES,
    lora=cannot("the tiny engine has no adapters"),
    images=cannot("the tiny engine reads text only"),
)


def load(spec: LoadSpec, on_progress: OnProgress) -> "TinyEngine":
    """Load a GGUF file. How many threads compute was decided when this room was imported."""
    if spec.lora:
        raise EngineError(Code.LOAD_FAILED, "The tiny engine has no adapters (LoRA).")
    try:
        engine = TinyEngine(spec)
    except MemoryError as problem:
        raise EngineError(
            Code.OUT_OF_MEMORY, "There is not enough memory for the model and its context."
        ) from problem
    on_progress(1, 1)
    return engine


class TinyEngine:
    """A loaded model."""

    def __init__(self, spec: LoadSpec) -> None:
        start = time.perf_counter()
        with open_gguf(Path(spec.model_path)) as file:
            self._tokenizer = Tokenizer(file)
            shape = ModelShape.read(file, len(self._tokenizer))
            self._context, notes = context_of(spec, shape.context)
            self._model = Transformer(file, shape, self._context)
            template = file.metadata.get("tokenizer.chat_template")
        if not isinstance(template, str | None):
            raise damaged("tokenizer.chat_template is not a text")
        self._identity = identity(self._model)
        self._held: array[int] = array("i")
        self.facts = ModelFacts(
            engine="tiny",
            engine_version=__version__,
            architecture="llama",
            context_tokens=self._context,
            memory_bytes=resident_bytes(),
            load_ms=milliseconds(start),
            capabilities=CAPABILITIES,
            vocabulary=shape.vocabulary,
            parameters=self._model.parameters,
            chat_template=template,
            bos_text=self._tokenizer.text_of(self._tokenizer.bos),
            eos_text=self._tokenizer.text_of(self._tokenizer.eos),
            embedding_size=shape.width,
            notes=notes,
        )

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
        tokens = self._tokens(prompt, room_for=1 if limits.max_tokens else 0)
        course = self._course(sampling)
        with self._nothing_held_after_an_error():
            start = time.perf_counter()
            cached = self._keep(tokens, all_but=1 if limits.max_tokens else 0)
            hidden = self._prefill(tokens, should_stop, on_progress)
            prefilled = len(self._held) - cached
            prefill_ms = milliseconds(start)
            start = time.perf_counter()
            generated = 0
            reason: EndReason = "cancelled" if len(self._held) < len(tokens) else "length"
            if hidden is not None and limits.max_tokens and reason == "length":
                generated, reason = self._decode(
                    hidden, Sampler(sampling), course, limits.max_tokens, on_piece, should_stop
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
        write_state(path, self._model, self._identity, self._held)
        return StateInfo(len(tokens), len(tokens) - cached, prefill_ms)

    def load_state(self, path: Path) -> int:
        """Hold what the file holds; the number of its tokens."""
        self.reset()
        self._held = array("i", read_state(path, self._model, self._identity, self._context))
        return len(self._held)

    def release_state(self) -> None:
        """Let go of a loaded file's state; the file itself is closed already."""

    def reset(self) -> None:
        """Hold nothing."""
        self._held = array("i")

    def held(self) -> Prompt:
        """What the state covers."""
        return Prompt.of_tokens(self._held)

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text in which special tokens may stand literally."""
        return self._tokenizer.encode(text)

    def embed(self, text: str, pooling: Pooling, *, normalize: bool) -> Embedding:
        """The vector of a text. What was held is lost."""
        tokens = self._tokens(Prompt.of_tokens(self.tokenize(text)), room_for=0)
        with self._nothing_held_after_an_error():
            self.reset()
            hidden = np.concatenate([rows.copy() for rows in self._advance(tokens)])
            vector = {"last": hidden[-1], "mean": hidden.mean(axis=0), "cls": hidden[0]}[pooling]
            length = np.linalg.norm(vector)
            if not np.isfinite(length):
                raise EngineError(Code.ENGINE_ERROR, "The model computed no finite vector.")
            if normalize and length > 0:
                vector = vector / length
        return Embedding(array("f", vector.tobytes()), len(tokens))

    def close(self) -> None:
        """Give everything back: the weights and the cache."""
        self.reset()
        vars(self).pop("_model", None)

    def _tokens(self, prompt: Prompt, room_for: int) -> "array[int]":
        return checked_tokens(
            prompt,
            self.tokenize,
            vocabulary=len(self._tokenizer),
            context=self._context,
            room_for=room_for,
        )

    def _keep(self, tokens: "array[int]", all_but: int) -> int:
        """Forget what differs from the tokens, and of their last ones what is wanted anew."""
        common = self.held().common_units(Prompt.of_tokens(tokens))
        kept = min(common, len(tokens) - all_but)
        del self._held[kept:]
        return kept

    def _prefill(
        self, tokens: "array[int]", should_stop: ShouldStop, on_progress: OnProgress
    ) -> Floats | None:
        """Compute what is missing, unless stopped; the last hidden state if there was any."""
        kept = len(self._held)
        hidden = None
        while len(self._held) < len(tokens) and not should_stop():
            end = len(self._held) // CHUNK_TOKENS * CHUNK_TOKENS + CHUNK_TOKENS
            for rows in self._advance(tokens[:end]):
                hidden = rows[-1]
            on_progress(len(self._held) - kept, len(tokens) - kept)
        return hidden

    def _advance(self, tokens: "array[int]") -> Iterator[Floats]:
        """Compute and hold all tokens that are not held, tile by tile."""
        while (place := len(self._held)) < len(tokens):
            tile = tokens[place : place // TILE * TILE + TILE]
            rows = self._model.advance(place, np.asarray(tile, np.int32))
            self._held += tile
            yield rows

    def _decode(
        self,
        hidden: Floats,
        sampler: Sampler,
        course: Course,
        max_tokens: int,
        on_piece: OnPiece,
        should_stop: ShouldStop,
    ) -> tuple[int, EndReason]:
        """Generate; how many tokens, and why no more."""
        room = min(max_tokens, self._context - len(self._held))
        said: array[int] = array("i")
        for generated in range(room):
            if course.complete:
                return generated, "stop"
            if should_stop():
                return generated, "cancelled"
            for rows in self._advance(self._held + said):
                hidden = rows[-1]
            logits = self._model.logits(hidden)
            course.restrict(logits)
            token = sampler.choose(logits, self._held)
            if token in self._tokenizer.ends:
                return generated, "stop"
            course.take(token)
            said = array("i", [token])
            on_piece(self._tokenizer.piece(token))
        return room, "stop" if course.complete else "length"

    def _course(self, sampling: Sampling) -> Course:
        return self._constrainer.begin(sampling.constraint) if sampling.constraint else Free()

    @cached_property
    def _constrainer(self) -> Constrainer:
        tokenizer = self._tokenizer
        pieces = [tokenizer.piece(token) for token in range(len(tokenizer))]
        return Constrainer(Vocabulary(pieces, sorted(tokenizer.ends), self.tokenize))

    @contextmanager
    def _nothing_held_after_an_error(self) -> Iterator[None]:
        try:
            yield
        except EngineError:
            self.reset()
            self._model.forget()
            raise
