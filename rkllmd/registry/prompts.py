"""The administrator's prompts, in three places of one folder:

    system.txt              the prompt `system` of every model
    prompts/NAME.txt        the prompt NAME of every model
    models/MODEL/NAME.txt   the prompt NAME of one model, in place of the common one if there is one

A text is UTF-8 of at most a MiB. Line ends become LF, and one line end at the very end is taken
off, because editors put it there unasked. What cannot be used gets a warning and counts as not
there.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rkllmd.config.document import ConfigError, read_text
from rkllmd.ids import LEARNED, NAME_RULE, CacheName, ModelName, is_name

SYSTEM = CacheName("system")
SUFFIX = ".txt"
BYTES_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class PromptText:
    """A prompt, and the file that it was read from."""

    text: str
    source: Path


@dataclass(frozen=True, slots=True)
class Prompts:
    """What a scan found."""

    common: Mapping[CacheName, PromptText]
    by_model: Mapping[ModelName, Mapping[CacheName, PromptText]]
    warnings: tuple[str, ...]
    complete: bool = True
    """Whether all folders could be read; what was not seen may be there all the same."""

    def of(self, model: ModelName) -> Mapping[CacheName, PromptText]:
        """The prompts of a model, sorted by name."""
        own = {**self.common, **self.by_model.get(model, {})}
        return {name: own[name] for name in sorted(own)}


def scan_prompts(folder: Path, models: Iterable[ModelName]) -> Prompts:
    """Look at the disk. Blocks; never raises for what is there."""
    warnings: list[str] = []
    common = _texts(folder / "prompts", warnings)
    if SYSTEM in common:
        warnings.append(f"{common.pop(SYSTEM).source}: not used, that prompt is system.txt")
    if "system.txt" in _names(folder, warnings):
        _add(common, folder / "system.txt", warnings)
    by_model = {}
    known = set(models)
    for name in _names(folder / "models", warnings):
        if name in known:
            by_model[ModelName(name)] = _texts(folder / "models" / name, warnings)
        else:
            warnings.append(f"{folder / 'models'}: {name!r} is not used, no model has this name")
    return Prompts(common, by_model, tuple(warnings), _is_complete(folder))


def _is_complete(folder: Path) -> bool:
    """Whether the folder is there, and what is in it can be looked into."""
    below = (path for path in (folder / "prompts", folder / "models") if path.exists())
    own = (path for path in (folder / "models").glob("*") if path.is_dir())
    return all(os.access(path, os.R_OK | os.X_OK) for path in (folder, *below, *own))


def _texts(folder: Path, warnings: list[str]) -> dict[CacheName, PromptText]:
    texts: dict[CacheName, PromptText] = {}
    for name in _names(folder, warnings):
        if name.endswith(SUFFIX):
            _add(texts, folder / name, warnings)
    return texts


def _names(folder: Path, warnings: list[str]) -> list[str]:
    """The names in a folder that are not hidden, sorted; none where there is no folder."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208 - names
    except FileNotFoundError:
        return []
    except OSError as error:
        warnings.append(f"{folder}: cannot be read: {error.strerror}")
        return []


def _add(texts: dict[CacheName, PromptText], file: Path, warnings: list[str]) -> None:
    name = file.name.removesuffix(SUFFIX)
    if not is_name(name):
        warnings.append(f"{file.parent}: {name!r} is not used, a prompt's name has {NAME_RULE}")
        return
    if name.startswith(LEARNED):
        warnings.append(f"{file}: not used, names that begin with {LEARNED!r} are the daemon's own")
        return
    try:
        text = read_text(file, BYTES_MAX).replace("\r\n", "\n").removesuffix("\n")
    except ConfigError as error:
        warnings.extend(error.problems)
        return
    if not text.strip():
        warnings.append(f"{file}: not used, it is empty")
    elif "\0" in text:
        warnings.append(f"{file}: not used, it has a NUL character")
    else:
        texts[CacheName(name)] = PromptText(text, file)
