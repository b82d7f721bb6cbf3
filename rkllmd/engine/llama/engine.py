"""llama.cpp behind the engine contract: what is held, what is new, and when a run ends.

`_held` lists the tokens whose keys and values are in sequence 0 of llama.cpp's context. A run keeps
what the prompt has in common with them, removes the rest, and computes what is missing in as few
chunks of `CHUNK_TOKENS` as it takes: each reads all weights once, so a cut in a short question
would be felt. The arithmetic depends a little on where the cuts are. A model whose state cannot be
cut (a recurrent one) is computed anew unless the prompt goes on exactly where the state ends.

The weights are mapped from the file and one token is computed at load, so that the first request
does not wait for the disk.
"""

import ctypes
import os
import time
from array import array
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache, cached_property
from pathlib import Path

import numpy as np

from rkllmd.board.cores import big_cores
from rkllmd.engine.constraint import Constrainer, Course, Free, Vocabulary, capability
from rkllmd.engine.contract import OnPiece, OnProgress, ShouldStop
from rkllmd.engine.llama.library import Library
from rkllmd.engine.llama.need import read_head, refuse_what_does_not_fit
from rkllmd.engine.llama.sampler import Sampler
from rkllmd.engine.llama.state import SEQUENCE, identity, read_state, write_state
from rkllmd.engine.measures import milliseconds, resident_bytes
from rkllmd.engine.window import checked_tokens, context_of
from rkllmd.errors import Code, EngineError
from rkllmd.runs import (
    YES,
    Adapter,
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

CHUNK_TOKENS = 64
"""How much is computed between two questions whether to stop. Larger ones are hardly faster: 1,024
tokens of a model with 100 million parameters took 2.8, 2.6, 2.6 and 2.7 s of one core's time in
chunks of 64, 128, 256 and 512 (AMD EPYC, one run each)."""
PIECE_BYTES = 256
TOKENS_SPARE = 8
"""What a tokenizer may add to a text that has at most one token for each byte."""


@cache
def library() -> Library:
    """The shared object, loaded once; its log and its backend are the process's."""
    return Library()


def load(spec: LoadSpec, on_progress: OnProgress) -> "LlamaEngine":
    """Load a GGUF file."""
    engine = LlamaEngine(library(), spec)
    on_progress(1, 1)
    return engine


class LlamaEngine:
    """A loaded model."""

    def __init__(self, library: Library, spec: LoadSpec) -> None:
        start = time.perf_counter()
        self._library, self._call = library, library.call
        self._model: int | None = None
        self._context: int | None = None
        self._held: array[int] = array("i")
        path = Path(spec.model_path)
        head = read_head(library, path)
        self._window, notes = context_of(spec, head.context_trained)
        needed_bytes = head.need(self._window, CHUNK_TOKENS)
        refuse_what_does_not_fit(needed_bytes, self._window)
        cores = frozenset(spec.options.get("cpus") or ()) or big_cores()
        if spec.threads is None:
            os.sched_setaffinity(0, cores)
        try:
            self._open(path, spec.threads or len(cores), pools=head.pools)
            self._adapters = self._adapt(spec.lora)
            self._warm_up()
        except BaseException:
            self.close()
            raise
        self._identity = identity(library.version, path, spec.lora)
        self.facts = self._facts(start, needed_bytes, notes)

    def _open(self, path: Path, threads: int, *, pools: bool) -> None:
        self._model = self._call.model_load_from_file(
            bytes(path), self._call.model_default_params()
        )
        if not self._model:
            raise EngineError(
                Code.LOAD_FAILED, f"llama.cpp cannot load {path}: {self._library.complaints()}."
            )
        if self._call.model_has_encoder(self._model):
            raise EngineError(Code.LOAD_FAILED, f"{path} has an encoder; such models are not run.")
        params = self._library.context_params(self._window, CHUNK_TOKENS, unpool=pools)
        self._context = self._call.init_from_model(self._model, params)
        if not self._context:
            raise EngineError(
                Code.OUT_OF_MEMORY,
                f"llama.cpp cannot make a context of {self._window} tokens:"
                f" {self._library.complaints()}.",
            )
        self._memory = self._call.get_memory(self._context)
        if not self._memory:
            raise EngineError(Code.LOAD_FAILED, f"{path} keeps no state, so it writes no text.")
        self._window = min(self._window, int(self._call.n_ctx(self._context)))
        self._call.set_n_threads(self._context, threads, threads)
        self._vocabulary = self._call.model_get_vocab(self._model)
        self._tokens_known = int(self._call.vocab_n_tokens(self._vocabulary))
        self._width = int(self._call.model_n_embd(self._model))

    def _adapt(self, adapters: tuple[Adapter, ...]) -> "ctypes.Array[ctypes.c_void_p]":
        """Put the adapters on the context."""
        loaded = (ctypes.c_void_p * len(adapters))()
        for number, adapter in enumerate(adapters):
            loaded[number] = self._call.adapter_lora_init(self._model, os.fsencode(adapter.path))
            if not loaded[number]:
                raise EngineError(
                    Code.LOAD_FAILED,
                    f"llama.cpp cannot load the adapter {adapter.path}:"
                    f" {self._library.complaints()}.",
                )
        scales = (ctypes.c_float * len(adapters))(*(adapter.scale for adapter in adapters))
        if adapters and self._call.set_adapters_lora(self._context, loaded, len(adapters), scales):
            raise EngineError(Code.LOAD_FAILED, "llama.cpp cannot apply the adapters.")
        return loaded

    def _warm_up(self) -> None:
        self._compute(array("i", [max(0, self._call.vocab_bos(self._vocabulary))]))
        self.reset()

    def _facts(self, start: float, needed_bytes: int, notes: tuple[str, ...]) -> ModelFacts:
        template = self._call.model_chat_template(self._model, None)
        return ModelFacts(
            engine="llama",
            engine_version=f"{self._library.version} ({self._call.version().decode()})",
            architecture=self._metadata("general.architecture"),
            context_tokens=self._window,
            memory_bytes=max(needed_bytes, resident_bytes()),
            load_ms=milliseconds(start),
            capabilities=Capabilities(
                state_files=YES,
                tokenizer=YES,
                embeddings=YES,
                logits=cannot("the llama engine gives tokens only"),
                grammar=capability(),
                run_sampling=YES,
                seed=YES,
                interruptible_prefill=YES,
                lora=YES,
                images=cannot("the llama engine reads text only"),
            ),
            vocabulary=self._tokens_known,
            parameters=int(self._call.model_n_params(self._model)),
            chat_template=template.decode(errors="replace") if template else None,
            bos_text=self._name(self._call.vocab_bos(self._vocabulary)),
            eos_text=self._name(self._call.vocab_eos(self._vocabulary)),
            embedding_size=self._width,
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
        course = self._constrainer.begin(sampling.constraint) if sampling.constraint else Free()
        with self._nothing_held_after_an_error():
            start = time.perf_counter()
            cached = self._keep(tokens, all_but=1 if limits.max_tokens else 0)
            self._prefill(tokens, should_stop, on_progress)
            prefilled = len(self._held) - cached
            prefill_ms = milliseconds(start)
            start = time.perf_counter()
            generated = 0
            reason: EndReason = "cancelled" if len(self._held) < len(tokens) else "length"
            if limits.max_tokens and reason == "length":
                with closing(Sampler(self._library, sampling, tokens)) as sampler:
                    generated, reason = self._decode(
                        sampler, course, limits.max_tokens, on_piece, should_stop
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
        """Write the state after `prompt`, flushed to the disk; None when it was stopped."""
        tokens = self._tokens(prompt, room_for=0)
        with self._nothing_held_after_an_error():
            start = time.perf_counter()
            cached = self._keep(tokens, all_but=0)
            self._prefill(tokens, should_stop, on_progress)
            if len(self._held) < len(tokens):
                return None
            prefill_ms = milliseconds(start)
            assert self._context is not None, "an engine that was closed saves nothing"
            write_state(path, self._library, self._context, self._identity, self.held())
        return StateInfo(len(tokens), len(tokens) - cached, prefill_ms)

    def load_state(self, path: Path) -> int:
        """Hold what the file holds; the number of its tokens."""
        self.reset()
        assert self._context is not None, "an engine that was closed loads nothing"
        with self._nothing_held_after_an_error():
            held = read_state(path, self._library, self._context, self._identity, self._window)
        self._held = held.tokens
        return len(self._held)

    def release_state(self) -> None:
        """Let go of a loaded file's state; the file itself is closed already."""

    def reset(self) -> None:
        """Hold nothing."""
        self._held = array("i")
        if self._context:
            self._call.memory_clear(self._memory, False)

    def held(self) -> Prompt:
        """What the state covers."""
        return Prompt.of_tokens(self._held)

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text in which special tokens may stand literally."""
        data = text.encode(errors="replace")
        room = len(data) + TOKENS_SPARE
        found = (ctypes.c_int32 * room)()
        count = self._call.tokenize(self._vocabulary, data, len(data), found, room, True, True)
        if count < 0:
            raise EngineError(Code.ENGINE_ERROR, "llama.cpp cannot make tokens of the text.")
        return list(found[:count])

    def embed(self, text: str, pooling: Pooling, *, normalize: bool) -> Embedding:
        """The vector of a text. What was held is lost."""
        tokens = self._tokens(Prompt.of_tokens(self.tokenize(text)), room_for=0)
        with self._nothing_held_after_an_error():
            self.reset()
            self._call.set_embeddings(self._context, True)
            try:
                rows = np.concatenate([self._rows(chunk) for chunk in chunks_of(tokens)])
            finally:
                self._call.set_embeddings(self._context, False)
                self.reset()
            vector = {"last": rows[-1], "mean": rows.mean(axis=0), "cls": rows[0]}[pooling]
            length = np.linalg.norm(vector)
            if not np.isfinite(length):
                raise EngineError(Code.ENGINE_ERROR, "The model computed no finite vector.")
            if normalize and length > 0:
                vector = vector / length
        return Embedding(array("f", vector.tobytes()), len(tokens))

    def close(self) -> None:
        """Give everything back."""
        if self._context:
            self._call.free(self._context)
        if self._model:
            self._call.model_free(self._model)
        self._context = self._model = None

    def _tokens(self, prompt: Prompt, room_for: int) -> "array[int]":
        return checked_tokens(
            prompt,
            self.tokenize,
            vocabulary=self._tokens_known,
            context=self._window,
            room_for=room_for,
        )

    def _keep(self, tokens: "array[int]", all_but: int) -> int:
        """Forget what differs from the tokens, and of their last ones what is wanted anew."""
        common = self.held().common_units(Prompt.of_tokens(tokens))
        kept = min(common, len(tokens) - all_but)
        if kept < len(self._held):
            if not self._call.memory_seq_rm(self._memory, SEQUENCE, kept, -1):
                self.reset()  # a state that cannot be cut
            del self._held[kept:]
        return len(self._held)

    def _prefill(
        self, tokens: "array[int]", should_stop: ShouldStop, on_progress: OnProgress
    ) -> None:
        """Compute what is missing, unless stopped."""
        kept = len(self._held)
        for chunk in chunks_of(tokens, kept):
            if should_stop():
                return
            self._compute(chunk)
            on_progress(len(self._held) - kept, len(tokens) - kept)

    def _compute(self, tokens: "array[int]", outputs: "array[int] | None" = None) -> None:
        """Compute and hold tokens; the last one's logits, or rows of those that `outputs` mark."""
        numbers = (ctypes.c_int32 * len(tokens)).from_buffer(tokens)
        batch = self._call.batch_get_one(numbers, len(tokens))
        if outputs is not None:
            batch.logits = (ctypes.c_int8 * len(tokens)).from_buffer(outputs)
        status = self._call.decode(self._context, batch)
        if status:
            raise EngineError(
                Code.ENGINE_ERROR,
                f"llama.cpp could not compute {len(tokens)} tokens (status {status}:"
                f" {self._library.complaints()}).",
            )
        self._held += tokens

    def _rows(self, chunk: "array[int]") -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
        """The last layer's row of each token."""
        self._compute(chunk, array("b", bytes([1]) * len(chunk)))
        found = np.empty((len(chunk), self._width), np.float32)
        for number in range(len(chunk)):
            row = self._call.get_embeddings_ith(self._context, number)
            if not row:
                raise EngineError(Code.ENGINE_ERROR, "llama.cpp gave no vector of a token.")
            found[number] = np.ctypeslib.as_array(row, (self._width,))
        return found

    def _decode(
        self,
        sampler: Sampler,
        course: Course,
        max_tokens: int,
        on_piece: OnPiece,
        should_stop: ShouldStop,
    ) -> tuple[int, EndReason]:
        """Generate; how many tokens, and why no more."""
        assert self._context is not None, "an engine that was closed says nothing"
        room = min(max_tokens, self._window - len(self._held))
        said: array[int] = array("i")
        for generated in range(room):
            if course.complete:
                return generated, "stop"
            if should_stop():
                return generated, "cancelled"
            if said:
                self._compute(said)
            if course.binds:
                course.restrict(self._logits())
            token = sampler.choose(self._context)
            if self._ends(token):
                return generated, "stop"
            course.take(token)
            said = array("i", [token])
            on_piece(self._piece(token))
        return room, "stop" if course.complete else "length"

    def _logits(self) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
        """Those that the next token will be chosen from, in their own place."""
        found = self._call.get_logits_ith(self._context, -1)
        return np.ctypeslib.as_array(found, (self._tokens_known,))

    def _ends(self, token: int) -> bool:
        return bool(self._call.vocab_is_eog(self._vocabulary, token))

    @cached_property
    def _constrainer(self) -> Constrainer:
        tokens = range(self._tokens_known)
        pieces = [self._piece(token) for token in tokens]
        ends = [token for token in tokens if self._ends(token)]
        return Constrainer(Vocabulary(pieces, ends, self.tokenize))

    def _piece(self, token: int) -> bytes:
        """What a token adds to the text; nothing for one that is not text."""
        room = PIECE_BYTES
        while True:
            found = ctypes.create_string_buffer(room)
            count = self._call.token_to_piece(self._vocabulary, token, found, room, 0, False)
            if count >= 0:
                return found.raw[:count]
            room = -count

    def _name(self, token: int) -> str:
        if token < 0:
            return ""
        text: bytes = self._call.vocab_get_text(self._vocabulary, token)
        return text.decode(errors="replace")

    def _metadata(self, key: str) -> str:
        found = ctypes.create_string_buffer(PIECE_BYTES)
        self._call.model_meta_val_str(self._model, key.encode(), found, len(found))
        return found.value.decode(errors="replace")

    @contextmanager
    def _nothing_held_after_an_error(self) -> Iterator[None]:
        try:
            yield
        except EngineError:
            self.reset()
            raise


def chunks_of(tokens: "array[int]", start: int = 0) -> Iterator["array[int]"]:
    """The tokens from `start` on, in chunks."""
    for place in range(start, len(tokens), CHUNK_TOKENS):
        yield tokens[place : place + CHUNK_TOKENS]
