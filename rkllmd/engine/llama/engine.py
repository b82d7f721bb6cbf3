"""llama.cpp behind the engine contract.

What is held is sequence 0 of llama.cpp's context. A chunk begins where what is held ends, wherever
that is: each reads all weights once, so a cut in a short question would be felt. The arithmetic
depends a little on where the cuts are. A state that cannot be cut (a recurrent model's) is computed
anew unless the prompt goes on exactly where it ends.

The weights are mapped from the file and one token is computed at load, so that the first request
does not wait for the disk.
"""

import ctypes
import os
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path

import numpy as np

from rkllmd.board.cores import big_cores
from rkllmd.engine.constraint import Course
from rkllmd.engine.contract import OnProgress
from rkllmd.engine.llama.library import Library
from rkllmd.engine.llama.need import read_head, refuse_what_does_not_fit
from rkllmd.engine.llama.sampler import Logits, Sampler
from rkllmd.engine.llama.state import SEQUENCE, identity, read_state, write_state
from rkllmd.engine.measures import milliseconds, resident_bytes
from rkllmd.engine.stepwise import Rows, StepwiseEngine, Tokens, capabilities
from rkllmd.engine.window import context_of
from rkllmd.errors import Code, EngineError
from rkllmd.runs import YES, Adapter, LoadSpec, ModelFacts, Sampling

CHUNK_TOKENS = 128
"""How much is computed between two questions whether to stop: a cancel waits for one. Smaller ones
cost time: 1,024 tokens of a model with 100 million parameters took 2.8, 2.6, 2.6 and 2.7 s of one
core's time in chunks of 64, 128, 256 and 512 (AMD EPYC, one run each)."""
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


class LlamaEngine(StepwiseEngine):
    """A loaded model."""

    def __init__(self, library: Library, spec: LoadSpec) -> None:
        super().__init__()
        start = time.perf_counter()
        self._library, self._call = library, library.call
        self._model = self._context = 0
        self._logits_place = 0
        self._logits_seen: Logits
        path = Path(spec.model_path)
        head = read_head(library, path)
        self._window, notes = context_of(spec, head.context_trained)
        needed_bytes = head.need(self._window, CHUNK_TOKENS)
        refuse_what_does_not_fit(needed_bytes, self._window)
        cores = stay_on(spec.options.get("cpus") or ())
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
        self._words = self._call.model_get_vocab(self._model)
        self._vocabulary = int(self._call.vocab_n_tokens(self._words))
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
        self._compute(array("i", [max(0, self._call.vocab_bos(self._words))]))
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
            capabilities=capabilities("llama", YES),
            vocabulary=self._vocabulary,
            parameters=int(self._call.model_n_params(self._model)),
            chat_template=template.decode(errors="replace") if template else None,
            bos_text=self._name(self._call.vocab_bos(self._words)),
            eos_text=self._name(self._call.vocab_eos(self._words)),
            embedding_size=self._width,
            notes=notes,
        )

    def reset(self) -> None:
        """Hold nothing."""
        super().reset()
        if self._context:
            self._call.memory_clear(self._memory, False)

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text in which special tokens may stand literally."""
        data = text.encode(errors="replace")
        room = len(data) + TOKENS_SPARE
        found = (ctypes.c_int32 * room)()
        count = self._call.tokenize(self._words, data, len(data), found, room, True, True)
        if count < 0:
            raise EngineError(Code.ENGINE_ERROR, "llama.cpp cannot make tokens of the text.")
        return list(found[:count])

    def close(self) -> None:
        """Give everything back."""
        if self._context:
            self._call.free(self._context)
        if self._model:
            self._call.model_free(self._model)
        self._context = self._model = 0

    def _cut(self, kept: int) -> None:
        if self._call.memory_seq_rm(self._memory, SEQUENCE, kept, -1):
            del self._held[kept:]
        else:
            self.reset()

    def _chunk_end(self, place: int) -> int:
        return place + CHUNK_TOKENS

    def _compute(self, tokens: Tokens, *, to_choose: bool = True) -> None:
        self._decode_batch(tokens, None if to_choose else bytes(len(tokens)))

    def _decode_batch(self, tokens: Tokens, marks: bytes | None) -> None:
        """Compute and hold tokens: with the last one's logits, or rows of those that are marked."""
        numbers = (ctypes.c_int32 * len(tokens)).from_buffer(tokens)
        batch = self._call.batch_get_one(numbers, len(tokens))
        if marks is not None:
            batch.logits = (ctypes.c_int8 * len(tokens)).from_buffer_copy(marks)
        status = self._call.decode(self._context, batch)
        if status:
            raise EngineError(
                Code.ENGINE_ERROR,
                f"llama.cpp could not compute {len(tokens)} tokens (status {status}:"
                f" {self._library.complaints()}).",
            )
        self._held += tokens

    def _rows(self, tokens: Tokens) -> Rows:
        self._call.set_embeddings(self._context, True)
        try:
            starts = range(0, len(tokens), CHUNK_TOKENS)
            return np.concatenate(
                [self._chunk_rows(tokens[at : at + CHUNK_TOKENS]) for at in starts]
            )
        finally:
            self._call.set_embeddings(self._context, False)

    def _chunk_rows(self, chunk: Tokens) -> Rows:
        self._decode_batch(chunk, bytes([1]) * len(chunk))
        found = np.empty((len(chunk), self._width), np.float32)
        for number in range(len(chunk)):
            row = self._call.get_embeddings_ith(self._context, number)
            if not row:
                raise EngineError(Code.ENGINE_ERROR, "llama.cpp gave no vector of a token.")
            found[number] = np.ctypeslib.as_array(row, (self._width,))
        return found

    @contextmanager
    def _choosing(
        self, sampling: Sampling, course: Course, before: Tokens
    ) -> Iterator[Callable[[], int]]:
        def choose() -> int:
            logits = self._logits()
            course.restrict(logits)
            return sampler.choose(self._context, logits)

        with closing(Sampler(self._library, sampling, before)) as sampler:
            yield choose

    def _logits(self) -> Logits:
        """Those that the next token will be chosen from, in their own place."""
        place = self._call.get_logits_ith(self._context, -1)
        if place != self._logits_place:
            numbers = (ctypes.c_float * self._vocabulary).from_address(place)
            self._logits_place, self._logits_seen = place, np.ctypeslib.as_array(numbers)
        return self._logits_seen

    def _ends(self, token: int) -> bool:
        return bool(self._call.vocab_is_eog(self._words, token))

    def _piece(self, token: int) -> bytes:
        room = PIECE_BYTES
        while True:
            found = ctypes.create_string_buffer(room)
            count = self._call.token_to_piece(self._words, token, found, room, 0, False)
            if count >= 0:
                return found.raw[:count]
            room = -count

    def _write_state(self, path: Path) -> None:
        write_state(path, self._library, self._context, self._identity, self.held())

    def _read_state(self, path: Path) -> Tokens:
        return read_state(path, self._library, self._context, self._identity, self._window).tokens

    def _name(self, token: int) -> str:
        if token < 0:
            return ""
        text: bytes = self._call.vocab_get_text(self._words, token)
        return text.decode(errors="replace")

    def _metadata(self, key: str) -> str:
        found = ctypes.create_string_buffer(PIECE_BYTES)
        self._call.model_meta_val_str(self._model, key.encode(), found, len(found))
        return found.value.decode(errors="replace")


def stay_on(cpus: Iterable[int]) -> frozenset[int]:
    """Keep the process on these cores, or on the big ones where none are named."""
    cores = frozenset(cpus) or big_cores()
    try:
        os.sched_setaffinity(0, cores)
    except OSError as problem:
        raise EngineError(
            Code.LOAD_FAILED,
            f"cpus: found {', '.join(map(str, sorted(cores)))}, allowed:"
            f" {', '.join(map(str, sorted(os.sched_getaffinity(0))))}.",
        ) from problem
    return cores
