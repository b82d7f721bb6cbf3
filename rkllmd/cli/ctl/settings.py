"""config show and check: the daemon's configuration file, read as the daemon reads it."""

import dataclasses
import os
from pathlib import Path

from rkllmd.cli.ctl.command import Context
from rkllmd.cli.ctl.replies import say
from rkllmd.config.document import ConfigError
from rkllmd.config.listing import render
from rkllmd.config.loader import DEFAULT_FILE, Loaded, load

WRONG = 2


def read(config: str | None) -> Loaded:
    """The settings of `--config`, of $RKLLMD_CONFIG, or of the installed file."""
    return load(Path(config or os.environ.get("RKLLMD_CONFIG") or DEFAULT_FILE))


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
        say(context, {"ok": True, "file": str(loaded.file)}, f"{loaded.file}: good")
    elif context.screen.as_json:
        tree = {"settings": dataclasses.asdict(loaded.config), "sources": dict(loaded.sources)}
        context.screen.json(tree)
    else:
        context.screen.line(render(loaded).rstrip())
    return 0
