"""The program: finds the command, runs it, and turns whatever happens into an exit status.

Exit statuses, by whose move is next: 0 done, 1 a mistake in the daemon, or something was found to
be wrong, 2 wrong usage or request, 3 the named thing is not there, 4 not now, 5 the model's run
failed, 6 the disk said no, 7 no daemon, 130 interrupted.
"""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from rkllmd import __version__, errors
from rkllmd.cli.ctl.command import Command, Context, Run
from rkllmd.cli.ctl.screen import Screen
from rkllmd.cli.ctl.table import COMMANDS, GROUPS
from rkllmd.client import Client, ConnectionLost, DaemonError, default_socket

WRONG_USAGE = 2
NO_DAEMON = 7
INTERRUPTED = 130
STATUSES: Mapping[type[errors.RkllmdError], int] = {
    errors.InternalError: 1,
    errors.RequestError: 2,
    errors.NotFound: 3,
    errors.StateError: 4,
    errors.EngineError: 5,
    errors.WorkerLost: 5,
    errors.StorageError: 6,
}


class WrongUsageError(Exception):
    """What was typed is no command; the arguments are the reason and where the help is."""


class Parser(argparse.ArgumentParser):
    """One whose errors can be told as JSON."""

    def error(self, message: str) -> NoReturn:
        """Refuse what was typed."""
        raise WrongUsageError(message, f"`{self.prog} --help` says what can be typed.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    typed = sys.argv[1:] if arguments is None else arguments
    screen = Screen(as_json="--json" in typed)
    status: int | None
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        options = parser().parse_args(typed)
        with Client(options.socket) as client:
            status = _function(options.command)(Context(client, options, screen))
    except WrongUsageError as error:
        screen.complain(errors.Code.BAD_REQUEST, *error.args)
        status = WRONG_USAGE
    except DaemonError as error:
        screen.complain(error.code, str(error), error.hint)
        status = STATUSES[type(errors.from_code(error.code, ""))]
    except errors.RkllmdError as error:
        screen.complain(error.code, error.message, error.next_step)
        status = STATUSES[type(error)]
    except ConnectionLost as error:
        screen.complain("no_daemon", str(error), "`rkllmctl doctor` looks for the reason.")
        status = NO_DAEMON
    except KeyboardInterrupt:
        screen.clear()
        print(file=sys.stderr)
        status = INTERRUPTED
    except BrokenPipeError:  # the reader has left
        _write_no_more()
        status = 0
    except OSError as error:  # of standard output: a command has words for its own ones
        print(f"rkllmctl: cannot write: {error.strerror}", file=sys.stderr)
        _write_no_more()
        status = STATUSES[errors.StorageError]
    return status or 0


def _write_no_more() -> None:
    """Let go what is still to be written, of which Python would complain once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser() -> argparse.ArgumentParser:
    """What can be typed."""
    top = Parser(prog="rkllmctl", description="Talk to a running rkllmd.")
    top.add_argument("--version", action="version", version=f"rkllmctl {__version__}")
    top.add_argument(
        "--socket",
        default=default_socket(),
        help="the daemon's socket (default: $RKLLMD_SOCKET, or %(default)s)",
    )
    top.add_argument("--json", action="store_true", help="write JSON, for scripts")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    groups = {}
    for command in COMMANDS:
        group, _, name = command.words.rpartition(" ")
        if group and group not in groups:
            one = commands.add_parser(group, help=GROUPS[group], description=GROUPS[group])
            groups[group] = one.add_subparsers(required=True, metavar="COMMAND")
        _add(groups.get(group, commands), name, command)
    return top


def _add(to: "argparse._SubParsersAction[Parser]", name: str, command: Command) -> None:
    one = to.add_parser(
        name,
        help=command.purpose,
        description=f"{command.purpose[:1].upper()}{command.purpose[1:]}.",
        epilog=f"Example: rkllmctl {command.example}",
    )
    for argument in command.arguments:
        one.add_argument(*argument.names, help=argument.purpose, **argument.more)
    # After the command as well as before it, without undoing what stood before.
    one.add_argument("--json", action="store_true", default=argparse.SUPPRESS,
                     help="write JSON, for scripts")  # fmt: skip
    one.add_argument("--socket", default=argparse.SUPPRESS, help="the daemon's socket")
    one.set_defaults(command=command)


def _function(command: Command) -> Run:
    file, _, name = command.run.partition(":")
    function: Run = getattr(importlib.import_module(f"rkllmd.cli.ctl.{file}"), name)
    return function


if __name__ == "__main__":
    sys.exit(main())
