"""What `describe` is told: a `handle` program for each model. Pure.

Only `handle`: Home Assistant would prefer an `intent` program, which we are not. It takes the first
program of the list, so the default model comes first, also while it is being loaded or was let go.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from rkllmd import __version__

THERE = frozenset({"starting", "loading", "ready"})
OTHERS = ("asr", "tts", "intent", "wake", "mic", "snd")
MAKER = {"name": "rkllmd", "url": ""}


def info(models: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The data of `info`, of models as `model.list` shows them."""
    usable = [
        model
        for model in models
        if model["state"] in THERE or (model["default"] and model["state"] != "broken")
    ]
    usable.sort(key=lambda model: not model["default"])
    return {"handle": [_program(model) for model in usable], **{name: [] for name in OTHERS}}


def _program(model: Mapping[str, Any]) -> dict[str, Any]:
    artifact = {
        "name": model["name"],
        "attribution": MAKER,
        "installed": True,
        "description": f"{model['name']}, a language model on this machine",
        "version": __version__,
    }
    return {
        **artifact,
        "models": [{**artifact, "languages": list(model["languages"])}],
        "supports_handled_streaming": True,
        "supports_home_control": False,
    }
