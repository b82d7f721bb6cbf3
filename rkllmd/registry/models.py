"""Which models there are: each folder below the models folders that has a model file in it.

- The folder's name is the model's name. It may be a symlink to a folder elsewhere. Hidden folders
  are passed over; of two of the same name the one in the earlier models folder counts.
- The model file is the first `*.rkllm` or `*.gguf` by name that is a regular file and no adapter of
  the model's; hidden ones are passed over.
- A GGUF file of up to `TINY_BYTES_MAX` runs on the `tiny` engine, which needs nothing else, and a
  larger one on `llama`. `engine` in `model.yaml` asks for one of them.
- `model.yaml` beside it overrides settings. If it cannot be used, the model is `broken` with the
  reason; so it is when the model file is empty, unreadable or not for the engine asked for.

What is no model at all, but looks like a try, gets a warning.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rkllmd.config.document import ConfigError, Document, fit, parse, read_text
from rkllmd.config.settings import ModelSettings
from rkllmd.errors import Code, EngineError, NotFound
from rkllmd.ids import NAME_RULE, ModelName, is_name
from rkllmd.registry.identity import UNREADABLE, FileIdentity, Identities

SETTINGS_FILE = "model.yaml"

EngineName = Literal["tiny", "llama", "rkllm"]

TINY_BYTES_MAX = 64 << 20
"""What numpy still runs at the speed of speech, with room to spare."""

_ENGINES: Mapping[str, Sequence[EngineName]] = {".rkllm": ["rkllm"], ".gguf": ["tiny", "llama"]}
"""Which engines run a file of an ending, from the smallest files to the largest."""


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model on the disk."""

    name: ModelName
    folder: Path
    file: Path
    size_bytes: int
    engine: EngineName
    settings: ModelSettings
    identity: FileIdentity
    adapters: tuple[FileIdentity, ...]
    warnings: tuple[str, ...]
    broken: str | None


@dataclass(frozen=True, slots=True)
class Registry:
    """What a scan found: the models sorted by name, and what looked like one but is none."""

    models: Mapping[ModelName, ModelEntry]
    warnings: tuple[str, ...]
    complete: bool = True
    """Whether all folders could be read; what was not seen may be there all the same."""

    @property
    def entries(self) -> tuple[ModelEntry, ...]:
        """The models, sorted by name."""
        return tuple(self.models.values())

    def get(self, name: ModelName) -> ModelEntry | None:
        """The model of that name, if there is one."""
        return self.models.get(name)


def scan(folders: Sequence[Path], identities: Identities) -> Registry:
    """Look at the disk. Blocks; never raises for what is there."""
    found: dict[ModelName, ModelEntry] = {}
    warnings: list[str] = []
    for folder in folders:
        for name in _names(folder, warnings):
            path = folder / name
            entry = _model(path, identities, warnings) if _is_try(path, warnings) else None
            if entry and entry.name in found:
                warnings.append(f"{path}: not used, {found[entry.name].folder} has the same name")
            elif entry:
                found[entry.name] = entry
    models = {name: found[name] for name in sorted(found)}
    return Registry(models, tuple(warnings), all(map(_is_complete, folders)))


def read_model(folder: Path) -> ModelEntry:
    """One model's folder, wherever it is; raises for one that cannot be used. Blocks."""
    warnings: list[str] = []
    folder = folder.absolute()
    entry = _model(folder, Identities(), warnings) if _is_try(folder, warnings) else None
    if entry is None:
        raise NotFound(Code.UNKNOWN_MODEL, "; ".join(warnings) or f"{folder} is no folder")
    if entry.broken is not None:
        raise EngineError(Code.LOAD_FAILED, f"{entry.name} is broken: {entry.broken}")
    return entry


def _is_complete(folder: Path) -> bool:
    """Whether a models folder is there, and every folder that may be a model's can be looked into.

    A disk's own `lost+found` is closed to us and no model.
    """
    below = (folder / name for name in _names(folder, []) if is_name(name))
    return all(map(is_open, (folder, *filter(may_be_folder, below))))


def is_open(folder: Path) -> bool:
    """Whether a folder is there, and can be looked into."""
    return os.access(folder, os.R_OK | os.X_OK, effective_ids=True)


def may_be_folder(path: Path) -> bool:
    """Whether a path leads to a folder, or through one that is closed to us."""
    try:
        return path.is_dir()
    except OSError:
        return True


def _names(folder: Path, warnings: list[str]) -> list[str]:
    """The names in a folder that are not hidden, sorted."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208 - names
    except OSError as error:
        warnings.append(f"{folder}: cannot be read: {error.strerror}")
        return []


def _is_try(path: Path, warnings: list[str]) -> bool:
    """Whether something in a models folder is a model's folder."""
    shown = f"{path.parent}: {path.name!r}"
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        warnings.append(f"{shown} is not used: {error.strerror}")
        return False
    if not is_folder:
        if path.suffix in _ENGINES:
            warnings.append(f"{shown} is not used, a model file needs a folder of its own")
        return False
    if not is_name(path.name):
        warnings.append(f"{shown} is not used, a model's name has {NAME_RULE}")
        return False
    return True


def _model(folder: Path, identities: Identities, warnings: list[str]) -> ModelEntry | None:
    own: list[str] = []
    broken: list[str] = []
    names = _names(folder, own)
    settings, document = _settings(folder, names, broken)
    files = _model_files(folder, names, {adapter.file for adapter in settings.lora}, own)
    if not files:
        reason = "" if own else f"{folder}: no *.rkllm or *.gguf in it"
        warnings.extend([*own, *([reason] if reason else []), *broken])
        return None
    file = files[0]
    if len(files) > 1:
        own.append(f"{folder}: {len(files)} model files, {file.name} is taken")
    identity = _identity(file, identities, broken)
    engines = _ENGINES[file.suffix]
    engine = settings.engine or engines[0 if identity.size_bytes <= TINY_BYTES_MAX else -1]
    if engine not in engines:
        broken.append(
            f"{document.origin(('engine',))}: engine: found {engine!r}, "
            f"allowed: {', '.join(engines)} (for {file.name})"
        )
    adapters = tuple(
        _adapter(folder, document, index, adapter.file, identities, broken)
        for index, adapter in enumerate(settings.lora)
    )
    return ModelEntry(
        name=ModelName(folder.name),
        folder=folder,
        file=file,
        size_bytes=identity.size_bytes,
        engine=engine,
        settings=settings,
        identity=identity,
        adapters=adapters,
        warnings=tuple(own),
        broken="; ".join(broken) or None,
    )


def _settings(
    folder: Path, names: Sequence[str], broken: list[str]
) -> tuple[ModelSettings, Document]:
    path = folder / SETTINGS_FILE
    document = Document({}, {(): str(path)})
    if SETTINGS_FILE in names:
        try:
            document = parse(read_text(path), str(path))
            return fit(ModelSettings, document), document
        except ConfigError as error:
            broken.extend(error.problems)
    return ModelSettings(), document


def _model_files(
    folder: Path, names: Sequence[str], adapters: set[str], warnings: list[str]
) -> list[Path]:
    files = []
    for name in names:
        file = folder / name
        if file.suffix not in _ENGINES or name in adapters:
            continue
        try:
            usable = stat.S_ISREG(file.stat().st_mode) and name.isprintable()
            reason = "it is no regular file, or its name has unprintable characters"
        except OSError as error:
            usable, reason = False, str(error.strerror)
        if usable:
            files.append(file)
        else:
            warnings.append(f"{folder}: {name!r} is not used: {reason}")
    return files


def _adapter(
    folder: Path,
    document: Document,
    index: int,
    name: str,
    identities: Identities,
    broken: list[str],
) -> FileIdentity:
    problems: list[str] = []
    if "/" in name:
        problems.append(f"found {name!r}, allowed: the name of a file in the model's folder")
        identity = UNREADABLE
    else:
        identity = _identity(folder / name, identities, problems)
    origin = document.origin(("lora", index, "file"))
    broken.extend(f"{origin}: lora[{index}].file: {problem}" for problem in problems)
    return identity


def _identity(file: Path, identities: Identities, broken: list[str]) -> FileIdentity:
    try:
        identity = identities.of(file)
    except OSError as error:
        broken.append(f"{file}: cannot be read: {error.strerror}")
        return UNREADABLE
    if not identity.size_bytes:
        broken.append(f"{file}: is empty")
    return identity
