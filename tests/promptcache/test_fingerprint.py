"""Each ingredient makes another fingerprint, and the difference says which one it was."""

from dataclasses import fields, replace

import pytest

from rkllmd.promptcache.fingerprint import (
    AdapterFile,
    Ingredients,
    difference,
    digest_json,
    digest_text,
)
from tests.promptcache.samples import INGREDIENTS

LORA = (AdapterFile(digest_text("adapter"), 0.5),)

CHANGES = {
    "engine": ("rkllm", "the engine changed from tiny to rkllm", False),
    "engine_version": ("1.3.1", "the engine's version changed from 1 to 1.3.1", False),
    "model_bytes": (2000, "the model file changed", False),
    "model_sha256": (digest_text("other"), "the model file changed", False),
    "context_tokens": (4096, "the context length changed from 2048 to 4096", False),
    "lora": (LORA, "the LoRA adapters changed", False),
    "template_sha256": (digest_text("other"), "the chat template changed", True),
    "tools_sha256": (digest_json([{"name": "lamp"}]), "the tools changed", True),
    "thinking": (True, "thinking was switched", True),
    "prefix_sha256": (digest_text("other"), "the prompt's text changed", True),
    "format": (2, "the format version changed from 1 to 2", False),
}


def test_all_ingredients_are_in_the_table() -> None:
    assert set(CHANGES) == {field.name for field in fields(Ingredients)}


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_named(name: str) -> None:
    value, sentence, same_model = CHANGES[name]
    changed = replace(INGREDIENTS, **{name: value})
    assert changed.digest() != INGREDIENTS.digest()
    assert difference(INGREDIENTS, changed) == sentence
    assert changed.fits_model_of(INGREDIENTS) is same_model


def test_consequences_are_not_named_as_causes() -> None:
    changed = replace(
        INGREDIENTS,
        context_tokens=4096,
        template_sha256=digest_text("other"),
        prefix_sha256=digest_text("other"),
    )
    assert difference(INGREDIENTS, changed) == (
        "the context length changed from 2048 to 4096, and the chat template changed"
    )
    assert difference(INGREDIENTS, INGREDIENTS) == ""


def test_the_scale_of_an_adapter_counts() -> None:
    one = replace(INGREDIENTS, lora=LORA)
    other = replace(INGREDIENTS, lora=(replace(LORA[0], scale=1.0),))
    assert difference(one, other) == "the LoRA scales changed from [0.5] to [1.0]"
