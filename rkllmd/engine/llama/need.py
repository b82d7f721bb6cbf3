"""How much memory a model will take, from its file's head, before anything is loaded.

Weights as they are in the file, keys and values of the whole context in 16 bits, and for computing
the logits and some rows of each token of a chunk. It is about right for transformers with plain
attention; one with compressed or recurrent state needs less for its context.
"""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rkllmd.board.reading import available_memory
from rkllmd.engine.llama.library import HeadParams, Library
from rkllmd.errors import Code, EngineError

MIB = 1 << 20
NUMBER_BYTES = 2
"""Of a key or a value."""
ROWS_PER_TOKEN = 24
"""Floats of the model's width that are kept of each token in a chunk, measured as 12 to 20."""
LAYERS_MAX = 1024
UINT32, STRING, ARRAY = 4, 8, 9
WORDS = {4, 5}
"""Array types whose numbers are 32-bit integers."""


@dataclass(frozen=True, slots=True)
class Head:
    """What of a model's metadata decides how much memory it takes."""

    context_trained: int
    cached_numbers: int
    """Keys and values of one token, in all layers."""
    width: int
    vocabulary: int
    weights_bytes: int
    pools: bool
    """Whether it makes one vector of a text by itself."""

    def need(self, context_tokens: int, chunk_tokens: int) -> int:
        """Bytes for the model with a context."""
        cache = context_tokens * self.cached_numbers * NUMBER_BYTES
        computing = 4 * chunk_tokens * (self.vocabulary + ROWS_PER_TOKEN * self.width)
        return self.weights_bytes + cache + computing


def read_head(library: Library, path: Path) -> Head:
    """The head of a model's file."""
    if not path.is_file():
        raise EngineError(Code.LOAD_FAILED, f"There is no model file {path}.")
    head = library.call.gguf_init_from_file(bytes(path), HeadParams(no_alloc=True, context=None))
    if not head:
        raise EngineError(
            Code.LOAD_FAILED, f"{path} is no GGUF file that can be used: {library.complaints()}."
        )
    try:
        return head_of(Metadata(library, head), path.stat().st_size)
    finally:
        library.call.gguf_free(head)


def head_of(metadata: "Metadata", weights_bytes: int) -> Head:
    """What the metadata say."""
    own = metadata.text("general.architecture")
    layers = metadata.numbers(f"{own}.block_count")[0]
    if not 1 <= layers <= LAYERS_MAX:
        raise damaged(f"it has {layers} layers, allowed: 1 to {LAYERS_MAX}")
    width = metadata.numbers(f"{own}.embedding_length")[0]
    heads = metadata.numbers(f"{own}.attention.head_count", [1])
    kv_heads = metadata.numbers(f"{own}.attention.head_count_kv", heads)
    if len(kv_heads) != layers:
        kv_heads = kv_heads[:1] * layers
    head_width = width // max(1, *heads)
    key = metadata.numbers(f"{own}.attention.key_length", [head_width])[0]
    value = metadata.numbers(f"{own}.attention.value_length", [head_width])[0]
    return Head(
        context_trained=metadata.numbers(f"{own}.context_length")[0],
        cached_numbers=sum(kv_heads) * (key + value),
        width=width,
        vocabulary=metadata.count("tokenizer.ggml.tokens"),
        weights_bytes=weights_bytes,
        pools=bool(metadata.numbers(f"{own}.pooling_type", [0])[0]),
    )


class Metadata:
    """The values in a file's head."""

    def __init__(self, library: Library, head: int) -> None:
        self._call = library.call
        self._head = head

    def _place(self, key: str, kinds: Mapping[int, str]) -> int | None:
        place = int(self._call.gguf_find_key(self._head, key.encode()))
        if place < 0:
            return None
        kind = self._call.gguf_get_kv_type(self._head, place)
        if kind not in kinds:
            allowed = " or ".join(kinds.values())
            raise damaged(f"{key} has the type {kind} and has to be {allowed}")
        return place

    def text(self, key: str) -> str:
        """A text that has to be there."""
        place = self._place(key, {STRING: "a text"})
        if place is None:
            raise damaged(f"its metadata has no {key}")
        found: bytes = self._call.gguf_get_val_str(self._head, place)
        return found.decode(errors="replace")

    def numbers(self, key: str, default: list[int] | None = None) -> list[int]:
        """A number, or one for each layer; at least one."""
        place = self._place(key, {UINT32: "a number", ARRAY: "a list of numbers"})
        if place is None:
            if default is None:
                raise damaged(f"its metadata has no {key}")
            return default
        if self._call.gguf_get_kv_type(self._head, place) == UINT32:
            return [int(self._call.gguf_get_val_u32(self._head, place))]
        count = self._call.gguf_get_arr_n(self._head, place)
        if not count or self._call.gguf_get_arr_type(self._head, place) not in WORDS:
            raise damaged(f"{key} has to be a list of numbers")
        data: Any = ctypes.cast(
            self._call.gguf_get_arr_data(self._head, place), ctypes.POINTER(ctypes.c_uint32)
        )
        return list(data[:count])

    def count(self, key: str) -> int:
        """How long a list is; 0 where there is none."""
        place = self._place(key, {ARRAY: "a list"})
        return 0 if place is None else int(self._call.gguf_get_arr_n(self._head, place))


def damaged(sentence: str) -> EngineError:
    """The error for a file that cannot be what it should be."""
    return EngineError(Code.LOAD_FAILED, f"The model file cannot be used: {sentence}.")


def refuse_what_does_not_fit(needed_bytes: int, context_tokens: int) -> None:
    """An error while there still is a process to say it, instead of the kernel's killer."""
    available = available_memory()
    if available is not None and needed_bytes > available:
        raise EngineError(
            Code.OUT_OF_MEMORY,
            f"The model with a context of {context_tokens} tokens needs about"
            f" {needed_bytes // MIB} MiB, and {available // MIB} MiB can be had.",
            needed_bytes=needed_bytes,
            available_bytes=available,
        )
