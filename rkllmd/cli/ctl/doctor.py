"""doctor: looks at board, runtime, files, service and daemon, and says what mends them."""

import contextlib
import dataclasses
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from rkllmd.board.reading import read_board
from rkllmd.cli.ctl import findings
from rkllmd.cli.ctl.command import Context
from rkllmd.cli.ctl.findings import JOURNAL, Finding
from rkllmd.cli.ctl.settings import read
from rkllmd.client import Client, ConnectionLost, DaemonError
from rkllmd.config.document import ConfigError

ILL = 1
UNITS = ("rkllmd.socket", "rkllmd.service")
SYSTEMCTL_SECONDS = 10


def doctor(context: Context) -> int:
    """Look at everything."""
    root = Path(context.options.root)
    found = list(examine(root, context.options.config))
    if root == Path("/"):
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
        loaded = read(config_file)
    except ConfigError as error:
        yield Finding("config", "problem", str(error), "mend it, then `rkllmctl config check`")
        return
    yield Finding("config", "ok", str(loaded.file))
    entries = findings.models(loaded.config)
    needed = board.chip is not None or any(entry.engine == "rkllm" for entry in entries)
    yield from findings.runtime(root, loaded.config, os.environ, needed=needed)
    yield from findings.model_files(entries, loaded.config, board)
    yield from findings.cache_folder(loaded.config)


def units() -> Iterator[Finding]:
    """The service, where systemd runs and knows it."""
    if not Path("/run/systemd/system").is_dir() or shutil.which("systemctl") is None:
        return
    for unit in UNITS:
        said = subprocess.run(  # noqa: S603  # no input of anybody
            ["systemctl", "show", "--property=LoadState,ActiveState", "--value", unit],  # noqa: S607
            capture_output=True, text=True, check=False, timeout=SYSTEMCTL_SECONDS,
        ).stdout  # fmt: skip
        yield findings.unit(unit, said)


def daemon(client: Client) -> Iterator[Finding]:
    """The daemon, its models and caches, and a question to it."""
    try:
        status = client.call("status")
    except ConnectionLost as error:
        remedy = "systemctl start rkllmd"
        if isinstance(error.__cause__, PermissionError):
            remedy = "adduser $USER rkllmd, and log in again"
        yield Finding("daemon", "problem", str(error), remedy)
        return
    said = f"version {status['version']}, {status['state']}"
    if status["ready"]:
        yield Finding("daemon", "ok", said)
    else:
        yield Finding("daemon", "warning", said, "rkllmctl wait")
    with contextlib.suppress(OSError):
        limits = Path(f"/proc/{client.daemon_pid()}/limits").read_text(encoding="ascii")
        yield from findings.open_files(limits)
    for model in status["models"]:
        if model["state"] in {"failed", "broken"}:
            yield Finding(f"model {model['name']}", "problem", model["reason"], JOURNAL)
    for cache in status["caches"]:
        name = f"{cache['model']} {cache['name']}"
        if cache["state"] in {"broken", "quarantined"}:
            yield Finding(
                f"cache {name}", "problem", cache["reason"], f"rkllmctl cache build {name} --force"
            )
        else:
            yield Finding(f"cache {name}", "ok", cache["state"])
    yield from canary(client)


def canary(client: Client) -> Iterator[Finding]:
    """One short question."""
    try:
        done = client.call("chat", text="Hello", max_tokens=4, stream=False)
    except (DaemonError, ConnectionLost) as error:
        yield Finding("canary", "problem", str(error), getattr(error, "hint", "") or JOURNAL)
        return
    first = done["timing"]["ttft_ms"]
    cached = "with" if done["usage"]["cache_hit"] else "without"
    yield Finding("canary", "ok", f"{done['model']} answered after {first} ms, {cached} its cache")
