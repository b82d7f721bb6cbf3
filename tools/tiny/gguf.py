"""What the model file says besides its weights: the shape, the tokenizer and the chat template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from rkllmd.engine.tiny.gguf import open_gguf
from tools.gguf_write import F16, Floats, write_gguf

from .bpe import CONTROL, SPECIAL, Tokenizer
from .chat import TEMPLATE
from .model import Shape, TinyLlama

NORMAL_TOKEN, CONTROL_TOKEN, USER_TOKEN = 1, 3, 4
MOSTLY_F16 = 1


def token_kind(token: str) -> int:
    if token in CONTROL:
        return CONTROL_TOKEN
    return USER_TOKEN if token in SPECIAL else NORMAL_TOKEN


def metadata(shape: Shape, tokenizer: Tokenizer) -> dict[str, Any]:
    number = tokenizer.numbers
    return {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": "tiny-assistant",
        "general.description": "A very small assistant for a home, made for rkllmd.",
        "general.license": "mit",
        "general.file_type": MOSTLY_F16,
        "llama.vocab_size": shape.vocabulary,
        "llama.context_length": shape.context,
        "llama.embedding_length": shape.width,
        "llama.block_count": shape.layers,
        "llama.feed_forward_length": shape.inner,
        "llama.attention.head_count": shape.heads,
        "llama.attention.head_count_kv": shape.heads,
        "llama.rope.dimension_count": shape.head_width,
        "llama.rope.freq_base": shape.rope_base,
        "llama.attention.layer_norm_rms_epsilon": shape.norm_epsilon,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokenizer.tokens,
        "tokenizer.ggml.token_type": [token_kind(token) for token in tokenizer.tokens],
        "tokenizer.ggml.merges": [f"{a} {b}" for a, b in tokenizer.merges],
        "tokenizer.ggml.bos_token_id": number["<|endoftext|>"],
        "tokenizer.ggml.eos_token_id": number["<|im_end|>"],
        "tokenizer.ggml.padding_token_id": number["<|endoftext|>"],
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }


def write_model(path: Path, shape: Shape, weights: dict[str, Floats], tokenizer: Tokenizer) -> None:
    """Write the whole file: matrices in half precision, gains in single."""
    write_gguf(path, metadata(shape, tokenizer), weights, F16)


def read_model(path: Path) -> tuple[TinyLlama, Tokenizer]:
    """A model of our shape, to be trained on."""
    model = TinyLlama(Shape())
    with open_gguf(path) as file:
        merges = [tuple(pair.split(" ")) for pair in file.metadata["tokenizer.ggml.merges"]]
        weights = {
            name: torch.tensor(file.tensor(name, *weight.shape))
            for name, weight in model.state_dict().items()
        }
    model.load_state_dict(weights)
    return model, Tokenizer([(first, second) for first, second in merges])
