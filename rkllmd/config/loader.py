"""Reads the settings: defaults, over them the file, over that every `--set key.path=value`.

The result is a new frozen tree, the origin of each value, and absolute paths. Relative paths are
relative to the folder of the configuration file as it was named (symlinks are not followed to find
it); the sockets' are relative to `paths.runtime`. A path from `--set` follows the same rule.

A reload reads everything again; `compare` says what of it takes effect and what has to wait.
"""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rkllmd.config.document import ConfigError, Document, fit, parse, read_text
from rkllmd.config.settings import Config
from rkllmd.shape import Place, dotted

DEFAULT_FILE = Path("/etc/rkllmd/rkllmd.yaml")
DEFAULT_ORIGIN = "default"

NEEDS_RESTART = frozenset({"paths", "socket", "http", "wyoming"})
"""Sections whose changes wait for a restart: what they name is opened once, at the start."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and by key the origin of each: `default`, `FILE:LINE:COLUMN` or `--set KEY`."""

    config: Config
    sources: Mapping[str, str]
    file: Path | None


@dataclass(frozen=True, slots=True)
class Changes:
    """The keys whose values differ, by what a reload does with them, and the tree it leads to."""

    applied: tuple[str, ...]
    needs_restart: tuple[str, ...]
    config: Config


def load(file: Path | None = DEFAULT_FILE, overrides: Sequence[str] = ()) -> Loaded:
    """The effective settings, or a `ConfigError` with all that is wrong."""
    document = Document({}, {(): "the defaults"})
    if file is not None:
        document = _without_empty_sections(parse(read_text(file), str(file)))
        # What is wrong in the file is told before an override can hide it.
        fit(Config, document)
    for override in overrides:
        document = _layered(document, _override(override))
    config = fit(Config, document)
    folder = Path.cwd() if file is None else (Path.cwd() / file).parent
    return Loaded(_absolute(config, folder), _sources(config, document), file)


def compare(old: Config, new: Config) -> Changes:
    """What a reload from one tree to the other changes."""
    before = dict(leaves(old))
    changed = [place for place, value in leaves(new) if before[place] != value]
    kept = {section: getattr(old, section) for section in NEEDS_RESTART}
    return Changes(
        applied=tuple(dotted(place) for place in changed if place[0] not in NEEDS_RESTART),
        needs_restart=tuple(dotted(place) for place in changed if place[0] in NEEDS_RESTART),
        config=dataclasses.replace(new, **kept),
    )


def leaves(tree: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every setting of a tree with its place, in the order of the dataclasses."""
    for field in dataclasses.fields(tree):
        value = getattr(tree, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, (*place, field.name))
        else:
            yield (*place, field.name), value


def _without_empty_sections(document: Document) -> Document:
    """Treat a section whose keys are all commented out as one that is not there."""
    if not isinstance(document.data, dict):
        return document
    sections = {field.name for field in dataclasses.fields(Config)}
    kept = {
        key: value
        for key, value in document.data.items()
        if value is not None or key not in sections
    }
    return dataclasses.replace(document, data=kept)


def _override(text: str) -> Document:
    """What `key.path=value` says, as a document of its own."""
    key, separator, value = text.partition("=")
    place = tuple(key.strip().split("."))
    if not separator or not all(place):
        raise ConfigError([f"--set: found {text!r}, allowed: key.path=value"])
    origin = f"--set {key.strip()}"
    inner = parse(value, origin)
    data = inner.data
    for part in reversed(place):
        data = {part: data}
    return Document(data, {(): origin, **{(*place, *rest): origin for rest in inner.origins}})


def _layered(below: Document, above: Document) -> Document:
    return Document(_merged(below.data, above.data), {**below.origins, **above.origins})


def _merged(below: Any, above: Any) -> Any:
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    return {**below, **{key: _merged(below.get(key), value) for key, value in above.items()}}


def _sources(config: Config, document: Document) -> Mapping[str, str]:
    return {
        dotted(place): document.origin(place) if _has(document.data, place) else DEFAULT_ORIGIN
        for place, _ in leaves(config)
    }


def _has(data: Any, place: Place) -> bool:
    for part in place:
        if not isinstance(data, Mapping) or part not in data:
            return False
        data = data[part]
    return True


def _absolute(config: Config, folder: Path) -> Config:
    old = config.paths
    paths = dataclasses.replace(
        old,
        models=tuple(_below(folder, path) for path in old.models),
        cache=_below(folder, old.cache),
        prompts=_below(folder, old.prompts),
        runtime=_below(folder, old.runtime),
    )
    socket = dataclasses.replace(config.socket, path=_below(paths.runtime, config.socket.path))
    http = dataclasses.replace(
        config.http,
        path=config.http.path and _below(paths.runtime, config.http.path),
        keys_file=config.http.keys_file and _below(folder, config.http.keys_file),
        certificate=config.http.certificate and _below(folder, config.http.certificate),
        certificate_key=config.http.certificate_key and _below(folder, config.http.certificate_key),
    )
    wyoming = dataclasses.replace(
        config.wyoming, path=config.wyoming.path and _below(paths.runtime, config.wyoming.path)
    )
    library = config.engine.library
    engine = dataclasses.replace(config.engine, library=library and _below(folder, library))
    return dataclasses.replace(
        config, paths=paths, socket=socket, http=http, wyoming=wyoming, engine=engine
    )


def _below(folder: Path | str, path: str) -> str:
    # Not Path.resolve(): a symlink on the way may be exchanged while we run.
    return os.path.normpath(Path(folder, path))
