"""A small Llama model with random weights: it talks nonsense, but as a real one would compute it.

The weights are scaled so that what comes next depends on the whole context: every layer adds about
as much as it finds, attention is neither even nor all on one place, and the logits are wide enough
for a clear best token. Ends of turn are kept unlikely by a smaller row in the head.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tools.gguf_write import F32, Floats, write_gguf

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
USER_DEFINED = ("<think>", "</think>")
CONTROL_KIND, USER_KIND, NORMAL_KIND = 3, 4, 1
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SENTENCES = """
Turn on the light in the kitchen, please. The lights in the living room are off now.
What's the weather like today? It'll rain in the evening, so take an umbrella with you.
Set a timer for 15 minutes. I've set the timer; it rings at 18:45. Open the blinds in the bedroom.
Schalte das Licht im Wohnzimmer ein. In der Küche sind es 21,5 Grad. Wie spät ist es?
"""


@dataclass(frozen=True)
class Sizes:
    """How big the model is."""

    width: int = 64
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    inner: int = 128
    vocabulary: int = 512
    context: int = 512
    tied: bool = True


def trained_merges(count: int) -> list[tuple[str, str]]:
    """Up to so many merges, learned from the sentences, in the characters that stand for bytes."""
    byte_characters = byte_alphabet()
    words = Counter(
        tuple(byte_characters[byte] for byte in f" {word}".encode()) for word in SENTENCES.split()
    )
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, times in words.items():
            for pair in pairwise(word):
                pairs[pair] += times
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        words = Counter({joined(word, best): times for word, times in words.items()})
    return merges


def joined(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """A word with the pair as one part, from the left."""
    parts: list[str] = []
    for part in word:
        if parts and (parts[-1], part) == pair:
            parts[-1] += part
        else:
            parts.append(part)
    return tuple(parts)


def byte_alphabet() -> str:
    """The printable character of each byte, as GPT-2 has them."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    spare = iter(range(256, 512))
    return "".join(chr(byte if byte in printable else next(spare)) for byte in range(256))


def metadata(sizes: Sizes, pre: str = "gpt-2") -> dict[str, Any]:
    """All that the file says before its tensors."""
    special = (*SPECIAL, *USER_DEFINED)
    merges = trained_merges(sizes.vocabulary - 256 - len(special))
    tokens = [*byte_alphabet(), *dict.fromkeys(first + second for first, second in merges)]
    filling = [f"<|unused_{i}|>" for i in range(sizes.vocabulary - len(tokens) - len(special))]
    kinds = [NORMAL_KIND] * len(tokens) + [CONTROL_KIND] * (len(filling) + len(SPECIAL))
    tokens += [*filling, *special]
    head_width = sizes.width // sizes.heads
    return {
        "general.architecture": "llama",
        "general.name": "random",
        "llama.vocab_size": len(tokens),
        "llama.context_length": sizes.context,
        "llama.embedding_length": sizes.width,
        "llama.block_count": sizes.layers,
        "llama.feed_forward_length": sizes.inner,
        "llama.attention.head_count": sizes.heads,
        "llama.attention.head_count_kv": sizes.kv_heads,
        "llama.rope.dimension_count": head_width,
        "llama.rope.freq_base": 10000.0,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds + [USER_KIND] * len(USER_DEFINED),
        "tokenizer.ggml.merges": [f"{first} {second}" for first, second in merges],
        "tokenizer.ggml.bos_token_id": tokens.index("<|endoftext|>"),
        "tokenizer.ggml.eos_token_id": tokens.index("<|im_end|>"),
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }


def tensors(sizes: Sizes, described: dict[str, Any], seed: int) -> dict[str, Floats]:
    """Random weights for that shape."""
    chance = np.random.default_rng(seed)
    head_width = sizes.width // sizes.heads
    kv_width = sizes.kv_heads * head_width

    def matrix(rows: int, columns: int, gain: float = 1.0) -> Floats:
        values = chance.standard_normal((rows, columns), dtype=np.float32)
        return values * np.float32(gain / columns**0.5)

    def norm() -> Floats:
        return chance.uniform(0.8, 1.2, sizes.width).astype(np.float32)

    found = {}
    for index in range(sizes.layers):
        found |= {
            f"blk.{index}.attn_norm.weight": norm(),
            f"blk.{index}.attn_q.weight": matrix(sizes.width, sizes.width, 2.0),
            f"blk.{index}.attn_k.weight": matrix(kv_width, sizes.width, 2.0),
            f"blk.{index}.attn_v.weight": matrix(kv_width, sizes.width, 2.0),
            f"blk.{index}.attn_output.weight": matrix(sizes.width, sizes.width, 2.0),
            f"blk.{index}.ffn_norm.weight": norm(),
            f"blk.{index}.ffn_gate.weight": matrix(sizes.inner, sizes.width, 2.0),
            f"blk.{index}.ffn_up.weight": matrix(sizes.inner, sizes.width, 2.0),
            f"blk.{index}.ffn_down.weight": matrix(sizes.width, sizes.inner, 2.0),
        }
    texts = described["tokenizer.ggml.tokens"]
    head = matrix(len(texts), sizes.width, 4.0)
    rare = [place for place, text in enumerate(texts) if text.startswith("<|")]
    head[rare] *= np.float32(0.01)
    if sizes.tied:
        return {"token_embd.weight": head, "output_norm.weight": norm(), **found}
    embedding = matrix(len(texts), sizes.width, 4.0)
    return {
        "token_embd.weight": embedding,
        "output_norm.weight": norm(),
        "output.weight": head,
        **found,
    }


def write_random_model(
    path: Path, sizes: Sizes | None = None, seed: int = 0, kind: int = F32, pre: str = "gpt-2"
) -> None:
    """Make the file."""
    sizes = sizes or Sizes()
    described = metadata(sizes, pre)
    write_gguf(path, described, tensors(sizes, described, seed), kind)
