"""Prints settings: `document` is `etc/rkllmd.yaml`, `render` is what `--check-config` shows, and
`manual` is `rkllmd.yaml(5)`.

The first two are YAML that `loader.py` reads back to the same values.
"""

import dataclasses
import json
import re
import textwrap
from typing import Any

from rkllmd.config.loader import Loaded
from rkllmd.config.settings import Config
from rkllmd.shape import allowed, field_docs, type_hints

WIDTH = 100

_PLAIN = re.compile(r"(?!(true|false|null)$)[A-Za-z/][A-Za-z0-9/._-]*", re.ASCII)

_MANUAL = """\
% rkllmd.yaml 5 "" rkllmd "File formats"

# NAME

rkllmd.yaml - settings of rkllmd

# SYNOPSIS

`/etc/rkllmd/rkllmd.yaml`

# DESCRIPTION

A YAML file with sections, and keys in them. What is absent takes its default. A wrong value, and a
key that does not exist, stop the start with the line, what was found and what is allowed.

**rkllmd --check-config** reads the file and shows what is in effect and where each value comes
from. **systemctl reload rkllmd** makes the daemon read it again; the sections `paths` and `socket`
wait for a restart. Relative paths are relative to the file's folder.

# SETTINGS"""

_HEAD = """\
# Settings of rkllmd. Every setting is here, commented out with its default: remove the first # of
# a line to change it. Relative paths are relative to this file's folder. `rkllmd --check-config`
# reads this file and shows what is in effect and where it comes from; `rkllmctl reload` makes the
# daemon read it again."""


def document(config: Config | None = None) -> str:
    """A configuration file with every key and its text; what differs from the default is set."""
    config = config or Config()
    lines = [_HEAD]
    for section, keys in _sections(config):
        defaults = type(keys)()
        lines += ["", f"# {_purpose(keys)}", f"{section}:"]
        for index, field in enumerate(dataclasses.fields(keys)):
            value = getattr(keys, field.name)
            mark = "#" if value == getattr(defaults, field.name) else ""
            lines += [""] if index else []
            lines += _comment(keys, field.name)
            lines.append(f"  {mark}{field.name}: {as_yaml(value)}")
    return "\n".join(lines) + "\n"


def render(loaded: Loaded) -> str:
    """The effective settings, each with where it comes from."""
    lines = [f"# {loaded.file or 'no file'}"]
    for section, keys in _sections(loaded.config):
        lines.append(f"{section}:")
        for field in dataclasses.fields(keys):
            setting = f"  {field.name}: {as_yaml(getattr(keys, field.name))}"
            lines.append(f"{setting:<48}  # {loaded.sources[f'{section}.{field.name}']}")
    return "\n".join(lines) + "\n"


def manual(config: Config) -> str:
    """The manual page's source in Markdown, with these values as the defaults."""
    lines = [_MANUAL]
    for section, keys in _sections(config):
        lines += ["", f"## {section}", "", _purpose(keys)]
        for field in dataclasses.fields(keys):
            value = as_yaml(getattr(keys, field.name))
            words = [*_texts(keys, field.name), f"Default: `{value}`."]
            lines += ["", f"**{field.name}**", f": {' '.join(words)}"]
    return "\n".join([*lines, "", "# SEE ALSO", "", "**rkllmd**(8), **rkllmctl**(1)"]) + "\n"


def as_yaml(value: Any) -> str:
    """A value on one line, quoted where a plain word could be read as something else."""
    if isinstance(value, tuple):
        return f"[{', '.join(as_yaml(item) for item in value)}]"
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _sections(config: Config) -> list[tuple[str, Any]]:
    return [(field.name, getattr(config, field.name)) for field in dataclasses.fields(Config)]


def _purpose(keys: Any) -> str:
    return " ".join((type(keys).__doc__ or "").split())


def _comment(keys: Any, name: str) -> list[str]:
    wrapped = (textwrap.wrap(text, WIDTH - 4) for text in _texts(keys, name))
    return [f"  # {line}" for lines in wrapped for line in lines]


def _texts(keys: Any, name: str) -> list[str]:
    """What a setting is for, and what it may be where that is not said yet."""
    kind: type = type(keys)
    words = allowed(type_hints(kind)[name])
    # Of texts, lists and switches the docstring already says all there is.
    says_all = words.startswith(("a text", "a list", "true"))
    return [field_docs(kind)[name], *([] if says_all else [f"Allowed: {words}."])]
