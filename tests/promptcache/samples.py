"""Small entries to store, and what an engine would have left for them."""

from dataclasses import replace
from typing import Any

from rkllmd.ids import CacheName, ModelName
from rkllmd.promptcache.entry import Entry, Prefix, Snapshot, Verification
from rkllmd.promptcache.fingerprint import Ingredients, digest_text
from rkllmd.promptcache.store import Store
from rkllmd.runs import Prompt

MODEL = ModelName("qwen")
NAME = CacheName("system")
NOTES = {".usage.json", ".findings.json"}
"""Files in the root that are no entries."""

INGREDIENTS = Ingredients(
    engine="tiny",
    engine_version="1",
    model_bytes=1000,
    model_sha256=digest_text("model"),
    context_tokens=2048,
    template_sha256=digest_text("template"),
    prefix_sha256=digest_text("prefix"),
)


def ingredients_of(text: str, model: str = "model") -> Ingredients:
    """Those of a prompt's text after a model."""
    return replace(INGREDIENTS, model_sha256=digest_text(model), prefix_sha256=digest_text(text))


def snapshot_of(text: str, model: str = "model") -> Snapshot:
    """A state as the builder describes it."""
    ingredients = ingredients_of(text, model)
    return Snapshot(
        fingerprint=ingredients.digest(),
        ingredients=ingredients,
        prefix=Prefix.of(Prompt.of_tokens(list(text.encode()))),
        tokens=len(text.encode()),
        built_at=1_700_000_000.5,
        build_ms=12.5,
        first_token_ms=200.0,
        first_token_cached_ms=9.5,
    )


PROOF = Verification(at=1_700_000_001.0, model_mtime_ns=7, canaries=3, counts_fit=3, words_agree=2)


def entry_of(
    text: str = "prompt", model: ModelName = MODEL, name: CacheName = NAME, **members: Any
) -> Entry:
    """A verified entry with a state."""
    entry = Entry(
        model_name=model,
        cache_name=name,
        created_at=1_700_000_000.0,
        source="declared",
        origin="config/system.txt",
        state="verified",
        verification=PROOF,
        snapshot=snapshot_of(text),
    )
    return replace(entry, **members)


def state_of(text: str) -> bytes:
    """What an engine would write after a text."""
    return b"\x00state after " + text.encode() + b"\xff" * 20


def put(
    store: Store, text: str, model: ModelName = MODEL, name: CacheName = NAME, **members: Any
) -> Entry:
    """Stage and commit as a build does."""
    staging = store.stage(model, name)
    staging.path.write_bytes(state_of(text))
    return store.commit(staging, entry_of(text, model, name, **members), text)
