"""What makes one stored state different from another, and which part of it changed.

A state is the model's after one prefix; it is good for exactly the engine, model file, adapters,
context and rendered text that it was made from. `Ingredients` holds all of these, its digest is the
fingerprint. The ingredients are stored beside the state, so that a mismatch can say what changed.

A model file is known by its size and its sampled content (registry/identity.py), not by name, path
or modification time: a model that was renamed or copied again keeps its caches. The time is not
lost: a verification remembers the one it saw, and a changed time costs a new proof, not a new
build.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Annotated, Any, NewType

from rkllmd.shape import Length, Pattern, Range

Fingerprint = NewType("Fingerprint", str)
"""64 hexadecimal digits that stand for a set of ingredients."""

FORMAT = 1
"""The version of the stored form; another one makes another fingerprint."""

Sha256 = Annotated[str, Pattern("[0-9a-f]{64}", "64 hexadecimal digits")]
Count = Annotated[int, Range(0, 1 << 62)]


def digest_text(text: str) -> str:
    """The digest of a text, as an ingredient; lone surrogates are taken as they are."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def digest_json(value: Any) -> str:
    """The digest of data that JSON can say, such as a list of tools."""
    return digest_text(json.dumps(value, sort_keys=True, separators=(",", ":")))


@dataclass(frozen=True, slots=True)
class AdapterFile:
    """A LoRA file by its content, and how strongly it is applied."""

    sha256: Sha256
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredients:
    """Everything that makes a state different."""

    engine: Annotated[str, Length(1, 64)]
    engine_version: Annotated[str, Length(0, 256)]
    model_bytes: Count
    model_sha256: Sha256
    """Of sampled content; see registry/identity.py."""
    context_tokens: Count
    lora: tuple[AdapterFile, ...] = ()
    template_sha256: Sha256
    """Of the chat template's text."""
    tools_sha256: Sha256 | None = None
    """Of the tools that stand in the prefix."""
    thinking: bool = False
    prefix_sha256: Sha256
    """Of the rendered prefix text."""
    format: int = FORMAT

    def digest(self) -> Fingerprint:
        """The fingerprint of these ingredients."""
        return Fingerprint(digest_json(asdict(self)))

    def digest_of_model(self) -> Fingerprint:
        """The fingerprint of the loaded model alone, whatever the prefix."""
        members = asdict(self)
        return Fingerprint(digest_json({name: members[name] for name in _OF_THE_LOADED_MODEL}))

    def fits_model_of(self, other: "Ingredients") -> bool:
        """Whether a state made from these can be loaded where the other's could.

        The text may differ: while a changed prompt is being built, its old state goes on serving.
        """
        return not any(
            getattr(self, field) != getattr(other, field) for field in _OF_THE_LOADED_MODEL
        )


_OF_THE_LOADED_MODEL = (
    "engine", "engine_version", "model_bytes", "model_sha256", "context_tokens", "lora", "format"
)  # fmt: skip


def difference(old: Ingredients, new: Ingredients) -> str:
    """Which ingredients changed, in words; empty when none did."""
    changes = [
        _from_to("the engine", old.engine, new.engine),
        _from_to("the engine's version", old.engine_version, new.engine_version),
        "the model file changed" if _model(old) != _model(new) else "",
        _from_to("the context length", old.context_tokens, new.context_tokens),
        "the LoRA adapters changed" if _files(old) != _files(new) else _scales(old, new),
        "the chat template changed" if old.template_sha256 != new.template_sha256 else "",
        "the tools changed" if old.tools_sha256 != new.tools_sha256 else "",
        "thinking was switched" if old.thinking != new.thinking else "",
        _from_to("the format version", old.format, new.format),
    ]
    causes = [change for change in changes if change]
    # Another template, tools or thinking make another text; then the text is no news of its own.
    if not causes and old.prefix_sha256 != new.prefix_sha256:
        causes = ["the prompt's text changed"]
    return ", and ".join(causes)


def _model(of: Ingredients) -> tuple[int, str]:
    return of.model_bytes, of.model_sha256


def _files(of: Ingredients) -> list[str]:
    return [adapter.sha256 for adapter in of.lora]


def _scales(old: Ingredients, new: Ingredients) -> str:
    before, after = ([adapter.scale for adapter in side.lora] for side in (old, new))
    return _from_to("the LoRA scales", before, after)


def _from_to(what: str, old: object, new: object) -> str:
    return "" if old == new else f"{what} changed from {old} to {new}"
