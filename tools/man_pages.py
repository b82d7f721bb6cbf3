"""The manual pages that are made from tables, so that they cannot say something else."""

import argparse
import inspect

from rkllmd import protocol
from rkllmd.cli.ctl import program
from rkllmd.cli.ctl.command import Argument, Command
from rkllmd.cli.ctl.table import COMMANDS
from rkllmd.client import DEFAULT_SOCKET

RKLLMCTL = """\
% rkllmctl 1 "" rkllmd "User commands"

# NAME

rkllmctl - talks to a running rkllmd

# SYNOPSIS

**rkllmctl** [**--socket** *PATH*] [**--json**] *COMMAND* [*ARGUMENT*...]

# DESCRIPTION

**rkllmctl** shows how the daemon is, asks models, looks after models and prompt caches, and finds
out what is wrong. Who may use it is said in **rkllmd**(8). `rkllmctl COMMAND --help` has an example
of each command.

# OPTIONS

**--socket** *PATH*
: The daemon's socket; `$RKLLMD_SOCKET`, or `{socket}`, when absent.

**--json**
: Write JSON, for scripts; errors too, as an object with `event`, `code`, `message` and `hint`.

**--version**
: Print the version, and leave.

# COMMANDS

{commands}

# EXIT STATUS

{statuses}

# ENVIRONMENT

`RKLLMD_SOCKET`
: The daemon's socket.

`RKLLMD_CONFIG`
: The daemon's configuration file, where `--config` is absent.

`NO_COLOR`
: No colours, when it is set.

# FILES

`~/.local/state/rkllmd/chat_history`
: What was typed in chats.

# SEE ALSO

**rkllmd**(8), **rkllmd.yaml**(5), **rkllmd-protocol**(7)
"""

PROTOCOL = """\
% rkllmd-protocol 7 "" rkllmd "Protocols"

# NAME

rkllmd-protocol - how programs talk to rkllmd over its Unix socket

# DESCRIPTION

```
{text}
```

# SEE ALSO

**rkllmd**(8), **rkllmctl**(1)
"""


def rkllmctl() -> str:
    """rkllmctl(1), from the table of its commands."""
    return RKLLMCTL.format(
        socket=DEFAULT_SOCKET,
        commands="\n\n".join(map(_command, COMMANDS)),
        statuses=_statuses(),
    )


def rkllmd_protocol() -> str:
    """rkllmd-protocol(7), which is the text of record."""
    return PROTOCOL.format(text=inspect.cleandoc(protocol.__doc__ or ""))


def _command(command: Command) -> str:
    typed = " ".join([f"**{command.words}**", *map(_synopsis, command.arguments)])
    described = [
        f"{_name(one)}: {one.purpose.replace('%(default)s', str(one.more.get('default')))}"
        for one in command.arguments
    ]
    purpose = command.purpose[:1].upper() + command.purpose[1:]
    return "\n".join([typed, f": {'. '.join([purpose, *described])}."])


def _synopsis(one: Argument) -> str:
    name = _name(one)
    if one.names[0].startswith("-"):
        words = one.more.get("metavar", "VALUE")
        names = (words,) if isinstance(words, str) else words
        value = "" if one.more.get("action") else "".join(f" *{name}*" for name in names)
        return f"[{name}{value}]"
    many = {"?": f"[{name}]", "*": f"[{name}...]"}
    return many.get(str(one.more.get("nargs")), name)


def _name(one: Argument) -> str:
    if one.names[0].startswith("-"):
        return f"**{one.names[0]}**"
    return f"*{one.more.get('metavar', one.names[0].upper())}*"


def _statuses() -> str:
    text = inspect.cleandoc(program.__doc__ or "").split("Exit statuses", 1)[1]
    return "By whose move is next: " + text.split(": ", 1)[1]


PAGES = {"rkllmctl.1": rkllmctl, "rkllmd-protocol.7": rkllmd_protocol}


def main() -> None:
    """Print a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", choices=PAGES)
    print(PAGES[parser.parse_args().page](), end="")


if __name__ == "__main__":
    main()
