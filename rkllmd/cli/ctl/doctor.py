"""doctor: looks at board, runtime, files, service and daemon, and says what mends them.

What the findings are is said in `findings`, `model_findings` and `service_findings`; here they are
collected.
"""

import contextlib
import dataclasses
import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from rkllmd.board.reading import read_board
from rkllmd.cli.ctl import findings, model_findings, service_findings
from rkllmd.cli.ctl.command import Context
from rkllmd.cli.ctl.findings import Finding
from rkllmd.cli.ctl.settings import read_below
from rkllmd.client import Client, ConnectionLost, DaemonError
from rkllmd.config.document import ConfigError

ILL = 1
UNITS = ("rkllmd.socket", "rkllmd.service")
SOCKET_GROUP = "rkllmd"
SYSTEMCTL_SECONDS = 10
SYSTEMD_RUNS = Path("/run/systemd/system")


def doctor(context: Context) -> int:
    """Look at everything."""
    root = Path(context.options.root)
    found = list(examine(root, context.options.config))
    if root == Path("/"):
        context.client.timeout_s = context.options.timeout
        found += [*units(), *daemon(context.client)]
    if context.screen.as_json:
        context.screen.json({"findings": [dataclasses.asdict(one) for one in found]})
    else:
        show(context, found)
    return ILL if any(one.grade == "problem" for one in found) else 0


def show(context: Context, found: list[Finding]) -> None:
    """What was found, and the remedies below what needs them."""
    for one in found:
        context.screen.marked(f"{one.grade:<8}", f"{one.about}: {one.reason}")
        if one.remedy:
            context.screen.line(f"          → {one.remedy}")
    problems = sum(one.grade == "problem" for one in found)
    warnings = sum(one.grade == "warning" for one in found)
    context.screen.line(f"{problems} problems, {warnings} warnings")


def examine(root: Path, config_file: str | None) -> Iterator[Finding]:
    """Everything that can be seen without a daemon."""
    board = read_board(root)
    yield from findings.board(board)
    yield from findings.devices(root, board)
    yield from findings.clocks(board)
    yield from findings.memory(board)
    yield from findings.inotify(root)
    try:
        loaded = read_below(root, config_file)
    except ConfigError as error:
        yield findings.config_file(error)
        return
    yield findings.config_file(loaded)
    registry = model_findings.models(loaded.config)
    library = findings.library(root, loaded.config, os.environ)
    needed = board.chip is not None or any(one.engine == "rkllm" for one in registry.entries)
    yield from findings.runtime(library, loaded.config, needed=needed)
    yield from model_findings.model_files(registry, loaded.config, board, library)
    yield from model_findings.loading(loaded, registry, board, library)
    yield from findings.cache_folder(loaded.config)


def units() -> Iterator[Finding]:
    """The service, where systemd runs and knows it."""
    if not SYSTEMD_RUNS.is_dir() or shutil.which("systemctl") is None:
        return
    for unit in UNITS:
        try:
            said = subprocess.run(  # noqa: S603  # no input of anybody
                ["systemctl", "show", "--property=LoadState,ActiveState", "--value", unit],  # noqa: S607
                capture_output=True, text=True, check=False, timeout=SYSTEMCTL_SECONDS,
            ).stdout  # fmt: skip
        except subprocess.TimeoutExpired:
            yield service_findings.silent(unit)
        else:
            yield service_findings.unit(unit, said)


def daemon(client: Client) -> Iterator[Finding]:
    """The daemon, its models and caches, and a short question to it."""
    about = "daemon"
    try:
        yield from service_findings.status(client.call("status"))
        with contextlib.suppress(OSError):
            limits = Path(f"/proc/{client.daemon_pid()}/limits").read_text(encoding="ascii")
            yield from service_findings.open_files(limits)
        about = "canary"
        done = client.call("chat", text="Hello", max_tokens=4, stream=False)
    except DaemonError as error:
        yield service_findings.refused(about, error)
    except ConnectionLost as error:
        yield service_findings.unreachable(error, _user(), _group(Path(client.path)))
    else:
        yield service_findings.canary(done)


def _user() -> str:
    """Who we are; some users of containers have a number and no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _group(path: Path) -> str:
    """The group that may use the daemon's socket."""
    try:
        return path.group()
    except (OSError, KeyError):
        return SOCKET_GROUP
