"""Writes the model file: GGUF version 3, architecture `llama`, matrices in half precision.

Layout: magic, version, counts; the metadata as key, type, value; one entry per tensor (name, sizes
with the fastest first, type, offset); then the tensors, each at a multiple of 32 bytes."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Protocol

from .bpe import CONTROL, SPECIAL, Tokenizer
from .chat import TEMPLATE

ALIGNMENT_BYTES = 32
UINT32, FLOAT32, BOOL, STRING, ARRAY, INT32 = 4, 6, 7, 8, 9, 5
F32, F16 = 0, 1
NORMAL_TOKEN, CONTROL_TOKEN, USER_TOKEN = 1, 3, 4
MOSTLY_F16 = 1


class Sizes(Protocol):
    """What the file says about the network's shape."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    inner: int
    context: int
    rope_base: float
    norm_epsilon: float

    @property
    def head_width(self) -> int: ...


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def string(key: str, value: str) -> bytes:
    return text(key) + struct.pack("<I", STRING) + text(value)


def uint(key: str, value: int) -> bytes:
    return text(key) + struct.pack("<II", UINT32, value)


def real(key: str, value: float) -> bytes:
    return text(key) + struct.pack("<If", FLOAT32, value)


def flag(key: str, *, value: bool) -> bytes:
    return text(key) + struct.pack("<I?", BOOL, value)


def strings(key: str, values: list[str]) -> bytes:
    return text(key) + struct.pack("<IIQ", ARRAY, STRING, len(values)) + b"".join(map(text, values))


def integers(key: str, values: list[int]) -> bytes:
    return text(key) + struct.pack(f"<IIQ{len(values)}i", ARRAY, INT32, len(values), *values)


def token_kind(token: str) -> int:
    if token in CONTROL:
        return CONTROL_TOKEN
    return USER_TOKEN if token in SPECIAL else NORMAL_TOKEN


def metadata(shape: Sizes, tokenizer: Tokenizer) -> list[bytes]:
    number = tokenizer.numbers
    return [
        string("general.architecture", "llama"),
        string("general.type", "model"),
        string("general.name", "tiny-assistant"),
        string("general.description", "A very small assistant for a home, made for rkllmd."),
        string("general.license", "mit"),
        uint("general.file_type", MOSTLY_F16),
        uint("general.alignment", ALIGNMENT_BYTES),
        uint("llama.vocab_size", shape.vocabulary),
        uint("llama.context_length", shape.context),
        uint("llama.embedding_length", shape.width),
        uint("llama.block_count", shape.layers),
        uint("llama.feed_forward_length", shape.inner),
        uint("llama.attention.head_count", shape.heads),
        uint("llama.attention.head_count_kv", shape.heads),
        uint("llama.rope.dimension_count", shape.head_width),
        real("llama.rope.freq_base", shape.rope_base),
        real("llama.attention.layer_norm_rms_epsilon", shape.norm_epsilon),
        string("tokenizer.ggml.model", "gpt2"),
        string("tokenizer.ggml.pre", "qwen2"),
        strings("tokenizer.ggml.tokens", tokenizer.tokens),
        integers("tokenizer.ggml.token_type", [token_kind(token) for token in tokenizer.tokens]),
        strings("tokenizer.ggml.merges", [f"{a} {b}" for a, b in tokenizer.merges]),
        uint("tokenizer.ggml.bos_token_id", number["<|endoftext|>"]),
        uint("tokenizer.ggml.eos_token_id", number["<|im_end|>"]),
        uint("tokenizer.ggml.padding_token_id", number["<|endoftext|>"]),
        flag("tokenizer.ggml.add_bos_token", value=False),
        flag("tokenizer.ggml.add_eos_token", value=False),
        string("tokenizer.chat_template", TEMPLATE),
    ]


def tensor_shapes(shape: Sizes) -> dict[str, tuple[int, ...]]:
    """Every tensor of the network with its sizes, the fastest first."""
    width, inner = shape.width, shape.inner
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (width, shape.vocabulary),
        "output_norm.weight": (width,),
    }
    for layer in range(shape.layers):
        square = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (width, width))
        for name, sizes in {
            "attn_norm": (width,),
            "ffn_norm": (width,),
            **square,
            "ffn_gate": (width, inner),
            "ffn_up": (width, inner),
            "ffn_down": (inner, width),
        }.items():
            shapes[f"blk.{layer}.{name}.weight"] = sizes
    return shapes


def write_model(path: Path, shape: Sizes, weights: dict[str, bytes], tokenizer: Tokenizer) -> None:
    """Write the whole file; `weights` are little-endian halves (matrices) and floats (gains)."""
    entries = metadata(shape, tokenizer)
    shapes = tensor_shapes(shape)
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(shapes), len(entries)) + b"".join(entries)
    data = b""
    for name, sizes in shapes.items():
        kind = F16 if len(sizes) == 2 else F32
        head += text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, len(data))
        data += padded(weights[name])
    path.write_bytes(padded(head) + data)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % ALIGNMENT_BYTES)
