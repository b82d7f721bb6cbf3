"""What every test has around it: a free loop, and nothing left behind."""

import asyncio
import gc
import inspect
import os
import signal
import threading
from contextlib import suppress
from pathlib import Path

import hypothesis
import pytest
import pytest_asyncio
from blockbuster import BlockBuster
from xdist.scheduler import LoadScopeScheduling

from rkllmd.engine import THREAD_VARIABLES

ROOT = Path(__file__).parent.parent

# Several run at a time, so numpy's threads would only wait for each other.
os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))

# A shell's background job ignores SIGINT, and so would every program that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

BEFORE_THE_LOOP = {"rkllmd/transport/listen.py": {"open_unix", "close", "_remove_own"}}
"""What the daemon does before its loop runs and after it ended, and tests do in theirs."""

hypothesis.settings.register_profile(
    "default",
    deadline=None,
    # The same examples each time, so that nobody fails by somebody else's luck; asking for more of
    # them is how one looks for what nobody has met yet.
    derandomize="RKLLMD_EXAMPLES" not in os.environ,
    max_examples=int(os.environ.get("RKLLMD_EXAMPLES", "50")),
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.function_scoped_fixture,
    ],
)
hypothesis.settings.load_profile("default")


def descriptors() -> dict[int, str]:
    """This process's open files, by what they are."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the descriptor of the listing itself
            continue
    return {fd: what for fd, what in found.items() if "anon_inode:[perf" not in what}


def children() -> dict[int, str]:
    """This process's children, by their command lines."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ends meanwhile
            for pid in (task / "children").read_text().split():
                command = Path(f"/proc/{pid}/cmdline")
                text = command.read_bytes().replace(b"\0", b" ") if command.exists() else b""
                found[int(pid)] = text.decode(errors="replace").strip()
    return found


def running_threads() -> set[threading.Thread]:
    """Threads, but for the pool that asyncio keeps until its loop is closed."""
    return {t for t in threading.enumerate() if not t.name.startswith("asyncio_")}


@pytest.fixture(autouse=True)
def settled():
    """Fail a test that leaves a child, a thread, a descriptor or another folder behind."""
    before = descriptors(), running_threads(), children(), Path.cwd()
    yield
    gc.collect()
    left = {
        "descriptors": {fd: what for fd, what in descriptors().items() if fd not in before[0]},
        "threads": running_threads() - before[1],
        "children": {pid: what for pid, what in children().items() if pid not in before[2]},
    }
    left = {kind: found for kind, found in left.items() if found}
    assert not left, f"left behind: {left}"
    assert Path.cwd() == before[3], "left in another folder"


@pytest_asyncio.fixture
async def no_task_left():
    """Fail an asynchronous test whose tasks outlive its fixtures."""
    before = asyncio.all_tasks()
    yield
    left = [task for task in asyncio.all_tasks() - before if not task.done()]
    left.remove(asyncio.current_task())
    assert not left, f"left running: {left}"


ROOTS_OF_THEIR_OWN = {"tests/systemd/test_arm64.py", "tests/systemd/test_debian_13.py"}


class Together(LoadScopeScheduling):
    """Keeps a file's tests together, as they share daemons, and all that share a booted root."""

    def _split_scope(self, nodeid):
        file = nodeid.split("::")[0]
        shared = file.startswith("tests/systemd/") and file not in ROOTS_OF_THEIR_OWN
        return "tests/systemd" if shared else file


def pytest_xdist_make_scheduler(config, log):
    """Who runs what, where several run at a time."""
    return Together(config, log)


def pytest_collection_modifyitems(items):
    """Begin with what takes longest, and watch the tasks of every asynchronous test.

    They are watched around all the test's other fixtures.
    """
    items.sort(key=lambda item: item.path.parent.name != "systemd")
    for item in items:
        if inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.fixturenames.insert(0, "no_task_left")


def pytest_collection_finish():
    """Spare `settled` the look through all that was imported: it collects after every test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def free_loop():
    """Fail a test in which our code blocks the loop."""
    blockbuster = BlockBuster(scanned_modules=["rkllmd"])
    for function in blockbuster.functions.values():
        for file, allowed in BEFORE_THE_LOOP.items():
            function.can_block_in(file, allowed)
    # A fork waits for its child's exec; no loop can do that in the background.
    blockbuster.functions["os.read"].can_block_in("/subprocess.py", {"_execute_child"})
    blockbuster.activate()
    yield
    blockbuster.deactivate()
