"""What is asked of an engine and what it answers: plain data, shared by daemon, worker and engine.

It imports no numpy and no asyncio, so that the daemon can speak of runs without being able to make
one. The engine's side of the contract, the calls, is `engine/contract.py`.
"""

import hashlib
import re
import sys
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal, Self

if sys.byteorder != "little":  # pragma: no cover - no such board exists
    raise ImportError("rkllmd keeps tokens as little-endian words; this machine is big-endian")

PromptKind = Literal["text", "tokens"]
MediaKind = Literal["image", "audio"]

MARK = re.compile(r"\0(image|audio) [0-9a-f]{64}\0")
"""Stands in a text for an image or a sound. No text that an engine could take has a NUL."""


@dataclass(frozen=True, slots=True)
class Media:
    """An image or a sound, as what the model's own encoder made of it."""

    kind: MediaKind
    npy: bytes
    """The content of a `.npy` file. Only an engine reads it."""
    mark: str
    """Stands for it in a prompt's text. It says which one it is, so that prompts with different
    images are different prompts wherever prompts are compared."""

    @classmethod
    def of_npy(cls, kind: MediaKind, npy: bytes) -> Self:
        """With its mark."""
        return cls(kind, npy, f"\0{kind} {hashlib.sha256(npy).hexdigest()}\0")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt as one comparable run of bytes.

    An engine that has a tokenizer is given tokens (little-endian int32), any other one UTF-8
    text. Prefixes are compared on `data`: a prompt starts with another when kind and bytes do.
    """

    kind: PromptKind
    data: bytes
    media: tuple[Media, ...] = field(default=(), compare=False, repr=False)
    """What the marks in a text stand for, in their order."""

    @classmethod
    def of_text(cls, text: str) -> Self:
        """A prompt for an engine without a tokenizer."""
        return cls("text", text.encode())

    @classmethod
    def of_tokens(cls, tokens: Iterable[int]) -> Self:
        """A prompt for an engine with a tokenizer."""
        return cls("tokens", array("i", tokens).tobytes())

    def with_media(self, known: Mapping[str, Media]) -> Self:
        """With what its marks stand for."""
        marks = (found[0] for found in MARK.finditer(self.text)) if known else ()
        return replace(self, media=tuple(known[mark] for mark in marks if mark in known))

    @property
    def unit_bytes(self) -> int:
        """How many bytes one comparable piece has."""
        return 4 if self.kind == "tokens" else 1

    @property
    def units(self) -> int:
        """Its length in tokens or in bytes of text."""
        return len(self.data) // self.unit_bytes

    @property
    def text(self) -> str:
        """The text; only for a prompt of text."""
        assert self.kind == "text", "a prompt of tokens has no text"
        return self.data.decode()

    @property
    def tokens(self) -> "array[int]":
        """The tokens; only for a prompt of tokens."""
        assert self.kind == "tokens", "a prompt of text has no tokens"
        return array("i", self.data)

    def starts_with(self, prefix: "Prompt") -> bool:
        """Whether everything of the prefix stands at the head of this prompt."""
        return self.kind == prefix.kind and self.data.startswith(prefix.data)

    def common_units(self, other: "Prompt") -> int:
        """How many tokens (or bytes) both begin with.

        By bisection over slices, since a comparison of slices is one memcmp and a loop over
        thousands of tokens in Python would cost more than the daemon may add to a request.
        """
        if self.kind != other.kind:
            return 0
        low, high = 0, min(self.units, other.units)
        while low < high:
            middle = (low + high + 1) // 2
            end = middle * self.unit_bytes
            if self.data[:end] == other.data[:end]:
                low = middle
            else:
                high = middle - 1
        return low


@dataclass(frozen=True, slots=True)
class Form:
    """What an answer may look like: JSON between two fixed texts."""

    schema: str
    """A JSON Schema, as text."""
    opening: str = ""
    closing: str = ""


@dataclass(frozen=True, slots=True)
class Constraint:
    """An answer has to have one of these forms."""

    forms: tuple[Form, ...]
    begun: str = ""
    """What of the answer stands at the end of the prompt already."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. Temperature 0 is greedy; everything else then has no effect
    but the penalties."""

    temperature: float = 0.7
    top_k: int = 40
    """0 takes all."""
    top_p: float = 0.9
    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    """None draws another one each time."""
    constraint: Constraint | None = None
    """Only for engines that can keep to one (`Capabilities.grammar`)."""


GREEDY = Sampling(temperature=0.0, top_k=1, top_p=1.0)


@dataclass(frozen=True, slots=True)
class Limits:
    """When a run ends although the model would go on."""

    max_tokens: int
    """0 prefills only."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer and are not part of it; matched by the worker, not the engine."""


EndReason = Literal["stop", "length", "cancelled"]
"""stop: the model or a stop text ended it; length: `max_tokens` or the context did; cancelled:
`should_stop` did."""


@dataclass(frozen=True, slots=True)
class RunStats:
    """What a run measured. Tokens are the engine's own counts, never a guess of the daemon."""

    prompt_tokens: int
    prefilled_tokens: int
    """Really computed in this run."""
    cached_tokens: int
    """Found in the state that the engine held."""
    generated_tokens: int
    """Tokens whose text is part of the answer; the end-of-turn token is not counted."""
    prefill_ms: float
    decode_ms: float
    reason: EndReason
    memory_bytes: int = 0
    """The worker's resident memory at the end, 0 when unknown."""


class Ability(StrEnum):
    """Whether an engine can do something."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Capability:
    """One ability, with the reason when it is missing."""

    ability: Ability
    reason: str = ""

    def __bool__(self) -> bool:
        """Whether it is worth trying."""
        return self.ability is not Ability.NO


YES = Capability(Ability.YES)
UNKNOWN = Capability(Ability.UNKNOWN)


def cannot(reason: str) -> Capability:
    """An ability that is missing, and why."""
    return Capability(Ability.NO, reason)


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do with the model that it holds."""

    state_files: Capability
    tokenizer: Capability
    embeddings: Capability
    logits: Capability
    grammar: Capability
    run_sampling: Capability
    """Sampling parameters can differ from run to run."""
    seed: Capability
    interruptible_prefill: Capability
    lora: Capability
    images: Capability
    """Embeddings of images, which the model's own vision encoder made."""
    audio: Capability
    """Likewise, of sounds."""

    def media(self, kind: MediaKind) -> Capability:
        """Whether prompts may have this beside their text."""
        return self.images if kind == "image" else self.audio


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA file and how strongly it is applied."""

    path: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """Everything an engine needs to load a model."""

    model_path: str
    context_tokens: int | None = None
    """None takes the model's own limit (or `CONTEXT_TOKENS_DEFAULT` of the engine)."""
    threads: int | None = None
    """None lets the engine choose."""
    lora: tuple[Adapter, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    """The model's defaults, for engines that take them only at load."""
    max_tokens: int = 1024
    """Likewise."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What only one engine knows: library path, layout, CPU mask, domain, embed_flash, and the
    context limit that it said at an earlier load."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model once it is loaded."""

    engine: str
    engine_version: str
    architecture: str
    context_tokens: int
    memory_bytes: int
    load_ms: float
    capabilities: Capabilities
    vocabulary: int | None = None
    parameters: int | None = None
    chat_template: str | None = None
    """The template in the file's metadata, in Jinja2."""
    bos_text: str = ""
    eos_text: str = ""
    embedding_size: int | None = None
    context_limit: int | None = None
    """The largest context that it can be loaded with, where the engine says it."""
    notes: tuple[str, ...] = ()
    """What a person should know, such as a limit that was learned."""
    warnings: tuple[str, ...] = ()
    """What is known to be wrong with the engine's release."""


@dataclass(frozen=True, slots=True)
class StateInfo:
    """What a saved state holds."""

    tokens: int
    prefilled_tokens: int
    prefill_ms: float


@dataclass(frozen=True, slots=True)
class Embedding:
    """One text's vector."""

    values: "array[float]"
    tokens: int


@dataclass(frozen=True, slots=True)
class Logits:
    """How likely each token of the vocabulary is after a prompt, before any sampling."""

    values: "array[float]"
    tokens: int
    """Of the prompt."""


Pooling = Literal["last", "mean", "cls"]
