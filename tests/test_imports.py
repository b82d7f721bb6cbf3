"""Imports point down: the picture of the rooms, and what a room may not load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "rkllmd"

# From the top down; a room imports rooms of lower lines, and itself.
PICTURE = [
    {"cli"},
    {"service", "local"},
    {"transport"},
    {"operations"},
    {"scheduling"},
    {"reconcile", "watch"},
    {"registry", "promptcache"},
    {"worker"},
    {"engine"},
    {"native", "board"},
    {"client"},
    {"chat"},
    {"protocol", "config"},
    {"shape", "runs"},
    {"errors", "ids"},
]
LINE = {room: number for number, rooms in enumerate(PICTURE) for room in rooms}
# The parent's side of the worker knows an engine by its name only.
# The doctor reads which release a library file is, and runs nothing of it.
ENGINES_SEEN_BY = {"rkllmd/worker/child.py", "rkllmd/cli/ctl/findings.py"}
PURE = [
    "scheduling/turns.py", "scheduling/residency.py", "scheduling/states.py",
    "scheduling/sessions.py", "reconcile/plan.py", "watch/settle.py", "promptcache/eviction.py",
    "promptcache/index.py", "promptcache/fingerprint.py", "promptcache/learn.py",
    "transport/wyoming/frames.py", "transport/wyoming/asked.py", "transport/wyoming/errands.py",
    "transport/wyoming/programs.py", "transport/wyoming/apologies.py",
    "worker/restarts.py", "protocol", "chat", "shape.py", "errors.py", "ids.py", "runs.py",
]  # fmt: skip
IMPURE = {"asyncio", "os", "pathlib.Path", "time", "socket", "subprocess", "threading", "random"}


def imported(path):
    """The dotted names a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module if node.module != "pathlib" else f"pathlib.{node.names[0].name}"
            if node.module == "rkllmd":
                yield from (f"rkllmd.{name.name}" for name in node.names)


def room(dotted):
    """The room that a dotted name of ours is in."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else None


def test_imports_point_down():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        own = parts[0]
        if own in {"__init__"}:
            continue
        assert own in LINE, f"{own} is not in the picture"
        for name in imported(path):
            other = room(name) if name.split(".")[0] == "rkllmd" else None
            if other is None or other == own or other.startswith("__"):
                continue
            if LINE[other] < LINE[own] or (LINE[other] == LINE[own] and other not in {"ids"}):
                wrong.append(f"{path.relative_to(PACKAGE.parent)} imports {name}")
    drawn = "\n".join("  " + " · ".join(sorted(rooms)) for rooms in PICTURE)
    assert not wrong, "imports that point up:\n" + "\n".join(wrong) + f"\nthe picture:\n{drawn}"


def test_only_the_child_sees_an_engine():
    for path in PACKAGE.rglob("*.py"):
        name = str(path.relative_to(PACKAGE.parent))
        if path.relative_to(PACKAGE).parts[0] in {"engine", "native"} or name in ENGINES_SEEN_BY:
            continue
        seen = {room(one) for one in imported(path) if one.startswith("rkllmd.")}
        assert not seen & {"engine", "native"}, f"{name} imports an engine"


@pytest.mark.parametrize("place", PURE)
def test_pure_rooms_do_nothing(place):
    target = PACKAGE / place
    files = sorted(target.rglob("*.py")) if target.is_dir() else [target]
    for path in files:
        impure = {name for name in imported(path) if name.split(".")[0] in IMPURE}
        assert not impure, f"{path.relative_to(PACKAGE.parent)} imports {impure}"


def test_the_daemon_loads_neither_numpy_nor_a_binding():
    code = (
        "import sys, rkllmd.service.app, rkllmd.cli.daemon\n"
        "print(*[m for m in sys.modules if m.split('.')[0] in {'numpy', 'ctypes'}"
        " or m.startswith(('rkllmd.engine', 'rkllmd.native'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
