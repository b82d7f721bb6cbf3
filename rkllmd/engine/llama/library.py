"""Finds llama.cpp's shared object, binds the functions that are used, and listens to its log.

Structs are passed by value. Whatever their size in a release, both machines' calling conventions
let them be handed over in a bigger buffer: the callee writes, or reads, as much as its struct has.
"""

import ctypes
import os
import struct
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from ctypes import (
    POINTER,
    c_bool,
    c_char_p,
    c_float,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_void_p,
)
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from rkllmd.errors import Code, EngineError

PARAMS_BYTES = 1024
"""More than any struct of parameters has ever had (160)."""
CONTEXT_HEAD = struct.Struct("<III")
CONTEXT_HEAD_DEFAULTS = (512, 2048, 512)
"""What `llama_context_params` begins with: n_ctx, n_batch, n_ubatch."""
UNSET = b"\xff\xff\xff\xff"
CHOICES_DEFAULTS = 4 * UNSET
"""rope_scaling_type, pooling_type, attention_type and flash_attn_type stand in a row."""
POOLING_NONE = struct.pack("<i", 0)
LOG_LINES_KEPT = 4
LOG_WARNING, LOG_ERROR, LOG_CONTINUED = 3, 4, 5


class Params(ctypes.Structure):
    """A struct of parameters, whatever it has."""

    _fields_ = (("bytes", ctypes.c_ubyte * PARAMS_BYTES),)


class ChainParams(ctypes.Structure):
    """Of a chain of samplers."""

    _fields_ = (("no_perf", c_bool),)


class Batch(ctypes.Structure):
    """Tokens to be computed; null pointers leave places and sequence to llama.cpp."""

    _fields_ = (
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", c_void_p),
        ("pos", c_void_p),
        ("n_seq_id", c_void_p),
        ("seq_id", c_void_p),
        ("logits", POINTER(ctypes.c_int8)),
    )


class HeadParams(ctypes.Structure):
    """How a file's head is read."""

    _fields_ = (("no_alloc", c_bool), ("context", c_void_p))


OnLog = ctypes.CFUNCTYPE(None, ctypes.c_int, c_char_p, c_void_p)
Tokens = POINTER(c_int32)

FUNCTIONS: dict[str, tuple[Any, Sequence[Any]]] = {
    "llama_version": (c_char_p, ()),
    "llama_log_set": (None, (OnLog, c_void_p)),
    "llama_backend_init": (None, ()),
    "llama_model_default_params": (Params, ()),
    "llama_context_default_params": (Params, ()),
    "llama_model_load_from_file": (c_void_p, (c_char_p, Params)),
    "llama_model_free": (None, (c_void_p,)),
    "llama_init_from_model": (c_void_p, (c_void_p, Params)),
    "llama_free": (None, (c_void_p,)),
    "llama_n_ctx": (c_uint32, (c_void_p,)),
    "llama_set_n_threads": (None, (c_void_p, c_int32, c_int32)),
    "llama_model_get_vocab": (c_void_p, (c_void_p,)),
    "llama_model_meta_val_str": (c_int32, (c_void_p, c_char_p, c_char_p, c_size_t)),
    "llama_model_chat_template": (c_char_p, (c_void_p, c_char_p)),
    "llama_model_n_ctx_train": (c_int32, (c_void_p,)),
    "llama_model_n_embd": (c_int32, (c_void_p,)),
    "llama_model_n_params": (ctypes.c_uint64, (c_void_p,)),
    "llama_model_has_encoder": (c_bool, (c_void_p,)),
    "llama_adapter_lora_init": (c_void_p, (c_void_p, c_char_p)),
    "llama_set_adapters_lora": (
        c_int32,
        (c_void_p, POINTER(c_void_p), c_size_t, POINTER(c_float)),
    ),
    "llama_vocab_n_tokens": (c_int32, (c_void_p,)),
    "llama_vocab_bos": (c_int32, (c_void_p,)),
    "llama_vocab_eos": (c_int32, (c_void_p,)),
    "llama_vocab_is_eog": (c_bool, (c_void_p, c_int32)),
    "llama_vocab_is_control": (c_bool, (c_void_p, c_int32)),
    "llama_vocab_get_text": (c_char_p, (c_void_p, c_int32)),
    "llama_tokenize": (
        c_int32,
        (c_void_p, c_char_p, c_int32, Tokens, c_int32, c_bool, c_bool),
    ),
    "llama_token_to_piece": (
        c_int32,
        (c_void_p, c_int32, c_char_p, c_int32, c_int32, c_bool),
    ),
    "llama_get_memory": (c_void_p, (c_void_p,)),
    "llama_memory_clear": (None, (c_void_p, c_bool)),
    "llama_memory_seq_rm": (c_bool, (c_void_p, c_int32, c_int32, c_int32)),
    "llama_batch_get_one": (Batch, (Tokens, c_int32)),
    "llama_decode": (c_int32, (c_void_p, Batch)),
    "llama_get_logits_ith": (c_void_p, (c_void_p, c_int32)),
    "llama_set_embeddings": (None, (c_void_p, c_bool)),
    "llama_get_embeddings_ith": (POINTER(c_float), (c_void_p, c_int32)),
    "llama_state_seq_get_size": (c_size_t, (c_void_p, c_int32)),
    "llama_state_seq_get_data": (c_size_t, (c_void_p, c_void_p, c_size_t, c_int32)),
    "llama_state_seq_set_data": (c_size_t, (c_void_p, c_void_p, c_size_t, c_int32)),
    "llama_sampler_chain_default_params": (ChainParams, ()),
    "llama_sampler_chain_init": (c_void_p, (ChainParams,)),
    "llama_sampler_chain_add": (None, (c_void_p, c_void_p)),
    "llama_sampler_init_penalties": (c_void_p, (c_int32, c_float, c_float, c_float)),
    "llama_sampler_init_top_k": (c_void_p, (c_int32,)),
    "llama_sampler_init_top_p": (c_void_p, (c_float, c_size_t)),
    "llama_sampler_init_temp": (c_void_p, (c_float,)),
    "llama_sampler_init_dist": (c_void_p, (c_uint32,)),
    "llama_sampler_init_greedy": (c_void_p, ()),
    "llama_sampler_accept": (None, (c_void_p, c_int32)),
    "llama_sampler_sample": (c_int32, (c_void_p, c_void_p, c_int32)),
    "llama_sampler_free": (None, (c_void_p,)),
    "gguf_init_from_file": (c_void_p, (c_char_p, HeadParams)),
    "gguf_free": (None, (c_void_p,)),
    "gguf_find_key": (c_int64, (c_void_p, c_char_p)),
    "gguf_get_kv_type": (ctypes.c_int, (c_void_p, c_int64)),
    "gguf_get_val_u32": (c_uint32, (c_void_p, c_int64)),
    "gguf_get_val_str": (c_char_p, (c_void_p, c_int64)),
    "gguf_get_arr_type": (ctypes.c_int, (c_void_p, c_int64)),
    "gguf_get_arr_n": (c_size_t, (c_void_p, c_int64)),
    "gguf_get_arr_data": (c_void_p, (c_void_p, c_int64)),
}


class Library:
    """The loaded library: `call` has its functions without their `llama_`."""

    def __init__(self) -> None:
        # A failed assertion would call a debugger before it ends the process, which waits for it.
        os.environ["GGML_NO_BACKTRACE"] = "1"
        path = find_library()
        self.version = version("xllamacpp")
        try:
            self.call = SimpleNamespace(**dict(bound(ctypes.CDLL(str(path)))))
        except (OSError, AttributeError) as problem:
            raise EngineError(
                Code.LOAD_FAILED, f"xllamacpp {self.version} cannot be used: {problem}."
            ) from problem
        self._complaints: deque[str] = deque(maxlen=LOG_LINES_KEPT)
        self._level = 0
        self._on_log = OnLog(self._hear)  # kept: the library calls it as long as it lives
        self.call.log_set(self._on_log, None)
        self.call.backend_init()

    def context_params(self, context_tokens: int, chunk_tokens: int, *, unpool: bool) -> Params:
        """The defaults but for the sizes; `unpool` gives each token's row of a model that pools."""
        params: Params = self.call.context_default_params()
        found = bytes(params.bytes)
        if CONTEXT_HEAD.unpack_from(found) != CONTEXT_HEAD_DEFAULTS or (
            found.count(CHOICES_DEFAULTS) != 1
        ):
            raise EngineError(
                Code.LOAD_FAILED,
                f"xllamacpp {self.version} has another layout of llama_context_params than the one"
                " that is understood; install the release that rkllmd[llama] names.",
            )
        CONTEXT_HEAD.pack_into(params.bytes, 0, context_tokens, chunk_tokens, chunk_tokens)
        if unpool:
            pooling = found.index(CHOICES_DEFAULTS) + len(UNSET)
            params.bytes[pooling : pooling + len(UNSET)] = list(POOLING_NONE)
        return params

    def complaints(self) -> str:
        """What the library said last of what went wrong, and not a second time."""
        said = "; ".join(self._complaints) or "llama.cpp does not say why"
        self._complaints.clear()
        return said

    def _hear(self, level: int, text: bytes, _data: object) -> None:
        """Called on any thread of the library."""
        if level != LOG_CONTINUED:
            self._level = level
        if self._level < LOG_WARNING:
            return
        said = text.decode(errors="replace")
        sys.stderr.write(said)
        if self._level == LOG_ERROR and said.strip():
            self._complaints.append(said.strip())


def find_library() -> Path:
    """The shared object in the installed wheel."""
    spec = find_spec("xllamacpp")
    folders = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    found = [file for folder in folders for file in Path(folder).glob("xllamacpp*.so")]
    if not found:
        raise EngineError(
            Code.LOAD_FAILED,
            "llama.cpp, which runs this model, is not installed (pip install 'rkllmd[llama]')",
        )
    return found[0]


def bound(loaded: ctypes.CDLL) -> Iterator[tuple[str, Any]]:
    """Every function with its types."""
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
        yield name.removeprefix("llama_"), function
