"""config show and check: the daemon's configuration file, read as the daemon reads it."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from rkllmd.board.reading import read_board
from rkllmd.cli.ctl import findings, model_findings
from rkllmd.cli.ctl.command import Context
from rkllmd.cli.ctl.replies import say
from rkllmd.config.document import ConfigError
from rkllmd.config.listing import render
from rkllmd.config.loader import DEFAULT_FILE, Loaded, load

WRONG = 2


def read(config: str | None) -> Loaded:
    """The settings of `--config`, of $RKLLMD_CONFIG, or of the installed file."""
    return load(Path(config or os.environ.get("RKLLMD_CONFIG") or DEFAULT_FILE))


def read_below(root: Path, config: str | None) -> Loaded:
    """The settings of a copy of another board's files, whose paths then lead into the copy."""
    if root == Path("/"):
        return read(config)
    root = root.absolute()
    loaded = load(Path(config) if config else root / DEFAULT_FILE.relative_to("/"))

    def inside(path: str) -> str:
        return path if Path(path).is_relative_to(root) else str(root / path.lstrip("/"))

    old = loaded.config
    paths = dataclasses.replace(
        old.paths, models=tuple(map(inside, old.paths.models)), cache=inside(old.paths.cache)
    )
    library = old.engine.library and inside(old.engine.library)
    engine = dataclasses.replace(old.engine, library=library)
    config_there = dataclasses.replace(old, paths=paths, engine=engine)
    return dataclasses.replace(loaded, config=config_there)


def show(context: Context) -> int:
    """What is in effect."""
    return _read_and_say(context, check_only=False)


def check(context: Context) -> int:
    """Whether it is right."""
    return _read_and_say(context, check_only=True)


def _read_and_say(context: Context, *, check_only: bool) -> int:
    try:
        loaded = read(context.options.config)
    except ConfigError as error:
        say(context, {"ok": False, "problems": str(error).splitlines()}, str(error))
        return WRONG
    if check_only:
        warnings = [f"{one.about}: {one.reason}" for one in _loading(loaded)]
        say(
            context,
            {"ok": True, "file": str(loaded.file), "warnings": warnings},
            f"{loaded.file}: good" + (", but" if warnings else ""),
            *warnings,
        )
    elif context.screen.as_json:
        tree = {"settings": dataclasses.asdict(loaded.config), "sources": dict(loaded.sources)}
        context.screen.json(tree)
    else:
        context.screen.line(render(loaded).rstrip())
    return 0


def _loading(loaded: Loaded) -> Iterator[findings.Finding]:
    """What the settings ask of models, against those that are there and this machine."""
    registry = model_findings.models(loaded.config)
    library = findings.library(Path("/"), loaded.config, os.environ)
    return model_findings.loading(loaded, registry, read_board(), library)
