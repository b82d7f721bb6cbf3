"""A Llama model's sizes, from a GGUF's metadata, each within what the engine can run."""

import math
from dataclasses import astuple, dataclass
from typing import Self

from rkllmd.engine.tiny.gguf import GgufFile, damaged
from rkllmd.engine.tiny.tokenizer import TOKENS_MAX

ARCHITECTURE = "llama"
CONTEXT_TOKENS_MAX = 1 << 20
ROPE_BASE_DEFAULT = 10_000.0


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The numbers that decide what is computed."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    context: int
    norm_epsilon: float
    rope_base: float

    @property
    def head_width(self) -> int:
        """How many numbers one head has."""
        return self.width // self.heads

    @property
    def cached_numbers(self) -> int:
        """How many numbers one token has in the cache, keys and values of all layers."""
        return 2 * self.layers * self.kv_heads * self.head_width

    def words(self) -> bytes:
        """All of it as bytes, for a model's identity."""
        return repr(astuple(self)).encode()

    @classmethod
    def read(cls, file: GgufFile, vocabulary: int) -> Self:
        """The shape that a file's metadata describes."""
        architecture = file.get("general.architecture", str)
        if architecture != ARCHITECTURE:
            raise damaged(f"its architecture is {architecture!r}; the tiny engine runs llama")
        heads = file.integer("llama.attention.head_count", 1, 256)
        shape = cls(
            vocabulary=vocabulary,
            width=file.integer("llama.embedding_length", 2, 8192),
            layers=file.integer("llama.block_count", 1, 128),
            heads=heads,
            kv_heads=file.integer("llama.attention.head_count_kv", 1, heads, heads),
            inner=file.integer("llama.feed_forward_length", 1, 65_536),
            context=file.integer("llama.context_length", 1, CONTEXT_TOKENS_MAX),
            norm_epsilon=number(file, "llama.attention.layer_norm_rms_epsilon", 0.0, 1.0),
            rope_base=number(file, "llama.rope.freq_base", 1.0, 1e12, ROPE_BASE_DEFAULT),
        )
        shape.check(file)
        return shape

    def check(self, file: GgufFile) -> None:
        """Refuse what the sizes or the rest of the metadata make impossible."""
        file.integer("llama.vocab_size", self.vocabulary, self.vocabulary, self.vocabulary)
        if self.vocabulary > TOKENS_MAX:
            raise damaged(f"it has {self.vocabulary} tokens; {TOKENS_MAX} are allowed")
        if self.width % self.heads or self.head_width % 2:
            raise damaged(f"{self.heads} heads of an even width do not make {self.width}")
        if self.heads % self.kv_heads:
            raise damaged(f"{self.heads} heads cannot share {self.kv_heads} keys evenly")
        for key in ("rope.dimension_count", "attention.key_length", "attention.value_length"):
            file.integer(f"llama.{key}", self.head_width, self.head_width, self.head_width)
        scaling = file.get("llama.rope.scaling.type", str, "none")
        if scaling != "none":
            raise damaged(f"llama.rope.scaling.type is {scaling!r}; the tiny engine has none")
        file.integer("llama.expert_count", 0, 0, 0)


def number(
    file: GgufFile, key: str, low: float, high: float, default: float | None = None
) -> float:
    """A real number above the lower bound and not above the higher one."""
    value = file.get(key, float, default)
    if not (math.isfinite(value) and low < value <= high):
        raise damaged(f"{key} is {value} and has to be above {low:g} and at most {high:g}")
    return value
