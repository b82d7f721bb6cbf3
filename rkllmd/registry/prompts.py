"""The administrator's prompts, in three places of one folder:

    system.txt              the prompt `system` of every model
    prompts/NAME.txt        the prompt NAME of every model
    models/MODEL/NAME.txt   the prompt NAME of one model, in place of the common one if there is one

A text is UTF-8 of at most a MiB. Line ends become LF, and one line end at the very end is taken
off, because editors put it there unasked. What cannot be used gets a warning. Where it could be
read before, it goes on as it was: a slip of an editor, or a disk that is away, takes no prompt from
a voice. Else, and when it is empty, it counts as not there.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rkllmd.config.document import ConfigError, read_text
from rkllmd.ids import LEARNED, NAME_RULE, CacheName, ModelName, is_name
from rkllmd.registry.models import is_open, may_be_folder

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

    @property
    def by_source(self) -> dict[Path, PromptText]:
        """All of them by their files."""
        found = [self.common, *self.by_model.values()]
        return {prompt.source: prompt for prompts in found for prompt in prompts.values()}

    def of(self, model: ModelName) -> Mapping[CacheName, PromptText]:
        """The prompts of a model, sorted by name."""
        own = {**self.common, **self.by_model.get(model, {})}
        return {name: own[name] for name in sorted(own)}


NONE = Prompts({}, {}, ())


def scan_prompts(folder: Path, models: Iterable[ModelName], before: Prompts = NONE) -> Prompts:
    """Look at the disk, knowing what was there before. Blocks; never raises for what is there."""
    if before.by_source and not is_open(folder):
        warning = f"{folder}: it cannot be looked into; its prompts go on as they were"
        return replace(before, warnings=(warning,), complete=False)
    scan = _Scan(before.by_source)
    common = scan.texts(folder / "prompts")
    if SYSTEM in common:
        scan.warnings.append(f"{common.pop(SYSTEM).source}: not used, that prompt is system.txt")
    if "system.txt" in scan.names(folder):
        scan.add(common, folder / "system.txt")
    by_model = {}
    known = set(models)
    for name in scan.names(folder / "models"):
        if name in known:
            by_model[ModelName(name)] = scan.texts(folder / "models" / name)
        else:
            scan.warnings.append(
                f"{folder / 'models'}: {name!r} is not used, no model has this name"
            )
    return Prompts(common, by_model, tuple(scan.warnings), _is_complete(folder))


def _is_complete(folder: Path) -> bool:
    """Whether the folder and those in it can be looked into."""
    if not is_open(folder):
        return False
    below = (path for path in (folder / "prompts", folder / "models") if path.exists())
    own = filter(may_be_folder, (folder / "models").glob("*"))
    return all(map(is_open, (*below, *own)))


@dataclass(slots=True)
class _Scan:
    """One look at the disk."""

    before: Mapping[Path, PromptText]
    warnings: list[str] = field(default_factory=list)

    def texts(self, folder: Path) -> dict[CacheName, PromptText]:
        """The prompts in a folder."""
        texts: dict[CacheName, PromptText] = {}
        for name in self.names(folder):
            if name.endswith(SUFFIX):
                self.add(texts, folder / name)
        return texts

    def names(self, folder: Path) -> list[str]:
        """The names in a folder that are not hidden, sorted; none where there is no folder."""
        try:
            return sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208 - names
        except FileNotFoundError:
            return []
        except OSError as error:
            self.warnings.append(f"{folder}: cannot be read: {error.strerror}")
            return []

    def add(self, texts: dict[CacheName, PromptText], file: Path) -> None:
        """Take a file's text, or say why not."""
        name = file.name.removesuffix(SUFFIX)
        if not is_name(name):
            self.warnings.append(
                f"{file.parent}: {name!r} is not used, a prompt's name has {NAME_RULE}"
            )
        elif name.startswith(LEARNED):
            self.warnings.append(
                f"{file}: not used, names that begin with {LEARNED!r} are the daemon's own"
            )
        elif isinstance(text := _text(file), _Unusable):
            kept = self.before.get(file)
            goes_on = "; it goes on as it was" if kept else ""
            self.warnings += [f"{problem}{goes_on}" for problem in text.problems]
            if kept:
                texts[CacheName(name)] = kept
        elif not text.strip():
            self.warnings.append(f"{file}: not used, it is empty")
        else:
            texts[CacheName(name)] = PromptText(text, file)


@dataclass(frozen=True, slots=True)
class _Unusable:
    problems: tuple[str, ...]


def _text(file: Path) -> str | _Unusable:
    try:
        text = read_text(file, BYTES_MAX).replace("\r\n", "\n").removesuffix("\n")
    except ConfigError as error:
        return _Unusable(tuple(error.problems))
    return _Unusable((f"{file}: not used, it has a NUL character",)) if "\0" in text else text
