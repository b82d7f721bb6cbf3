"""Finds facts that answer questions: in the board's files, in the library, and by experiment."""

import contextlib
import grp
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rkllmd.board.drm import npu_driver_version
from rkllmd.board.reading import DRIVER_FILES, LOAD_FILES, read_board
from rkllmd.native.functions import SIGNATURES
from tools.boards.experiments import EXPERIMENTS

ROOT = Path(__file__).resolve().parents[2]
SECONDS_MAX = 180
LOOK_SECONDS = 0.1
NAMES_MAX = 60
FUNCTION = re.compile(rb"\0(rkllm_[A-Za-z_]{3,40})(?=\0)")
VARIABLE = re.compile(rb"\0(RK(?:LLM|NN)_(?!INFER_|INPUT_|RUN_)[A-Z_]{4,40})(?=\0)")


def of_board(root: Path = Path("/")) -> dict[str, Any]:
    """What a board's files tell; nothing where it is no board."""
    board = read_board(root)
    if board.chip is None:
        return {}
    nodes = [root / node.lstrip("/") for node in board.devices]
    renders = sorted((root / "dev/dri").glob("render*"))
    return {
        "board.files": "; ".join(there(root, name) for name in (*DRIVER_FILES, *LOAD_FILES)),
        "board.drm": "; ".join(f"/{node.relative_to(root)}: {npu_driver_version(node) or 'no'}"
                               for node in renders) or "there is no render node",
        "board.nodes": "; ".join(map(_owned, nodes)) or "none",
        "board.features": _features(root),
    }  # fmt: skip


def there(root: Path, name: str) -> str:
    """What a file of the kernel says, or why it does not."""
    try:
        text = (root / name).read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        return f"/{name}: no ({error.strerror})"
    return f"/{name}: {text!r}"


@contextlib.contextmanager
def load_seen() -> Iterator[dict[str, Any]]:
    """The highest load of each NPU core while something runs, as a fact."""
    facts: dict[str, Any] = {}
    seen: list[tuple[int, ...]] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            if load := read_board().npu_load:
                seen.append(load)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield facts
    finally:
        over.set()
        looking.join()
        if seen:
            facts["board.load"] = [max(cores) for cores in zip(*seen, strict=True)]


def of_library(path: Path, version: str | None) -> dict[str, Any]:
    """What a library's bytes tell."""
    data = path.read_bytes()
    marks = re.findall(rb"RKLLM SDK \(version: [^\0]{0,60}", data)
    functions = {name.decode() for name in FUNCTION.findall(data)}
    variables = {name.decode() for name in VARIABLE.findall(data)}
    return {
        "library.version": version or "no version was found",
        "library.marks": marks[0].decode(errors="replace") if marks else "nothing",
        "library.unknown_functions": ", ".join(sorted(functions - SIGNATURES.keys())[:NAMES_MAX]),
        "library.variables": ", ".join(sorted(variables)[:NAMES_MAX]) or "none",
    }


def by_experiment(library: str, layout: str, model: Path) -> dict[str, Any]:
    """All experiments, each in a process of its own."""
    facts: dict[str, Any] = {}
    for name in EXPERIMENTS:
        with tempfile.TemporaryDirectory(prefix="board-check-") as folder:
            facts |= _experiment(name, Path(folder) / "found", [library, layout, str(model)])
    return facts


def _experiment(name: str, found: Path, arguments: list[str]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    command = [sys.executable, "-m", "tools.boards.experiments", name, str(found), *arguments]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, check=False, timeout=SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        facts["end"] = f"hung, and was ended after {SECONDS_MAX} s"
    else:
        facts["end"] = _end(done)
        facts["stdout_lines"], facts["stderr_lines"] = (
            len(printed.splitlines()) for printed in (done.stdout, done.stderr)
        )
    if found.exists():
        for line in found.read_text().splitlines():
            facts |= json.loads(line)
    return {f"{name}.{key}": value for key, value in facts.items()}


def _end(done: "subprocess.CompletedProcess[bytes]") -> str:
    if done.returncode == 0:
        return "ended well"
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    said = f": {last[0]}" if last else ""
    if done.returncode < 0:
        return f"died of {signal.Signals(-done.returncode).name}{said}"
    return f"ended with status {done.returncode}{said}"


def _owned(node: Path) -> str:
    status = node.stat()
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = str(status.st_gid)
    return f"{node} -> {os.path.realpath(node)}, {group}, {status.st_mode & 0o777:o}"


def _features(root: Path) -> str:
    try:
        text = (root / "proc/cpuinfo").read_text()
    except OSError:
        return "no /proc/cpuinfo"
    found = sorted({word for line in re.findall(r"(?m)^Features\s*: (.*)$", text)
                    for word in line.split()})  # fmt: skip
    return ("SVE: " + ("yes" if "sve" in found else "no") + f"; {' '.join(found)}").strip()
