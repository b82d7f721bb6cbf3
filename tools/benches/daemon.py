"""A daemon to be measured: a process of its own on a folder that is made for it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from tools.benches.lines import Lines

ROOT = Path(__file__).resolve().parent.parent.parent
BUNDLED = ROOT / "models" / "tiny-assistant" / "tiny-assistant.gguf"
PATIENCE_SECONDS = 120
MODEL = "measured"


class Daemon:
    """A folder with a model and prompts, and the daemon that serves them."""

    def __init__(self, model: Path | None, *settings: str, **environment: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rkllmd-bench-"))
        self.socket = self.folder / "run" / "rkllmd.sock"
        self._settings = settings
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(self.folder / "notify"))
        self._notify.settimeout(PATIENCE_SECONDS)
        (self.folder / "models").mkdir()
        (self.folder / "config" / "prompts").mkdir(parents=True)
        (self.folder / "rkllmd.yaml").write_text(
            "paths: {models: [models], cache: cache, prompts: config, runtime: run}\n"
        )
        if model is not None:
            target = self.folder / "models" / MODEL / f"model{model.suffix}"
            target.parent.mkdir()
            shutil.copyfile(model, target)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._notify.close()
        shutil.rmtree(self.folder)

    def write_prompt(self, name: str, text: str) -> None:
        """Declare a prompt; `system` is the one that applies by itself."""
        place = "system.txt" if name == "system" else f"prompts/{name}.txt"
        (self.folder / "config" / place).write_text(text)

    def start(self) -> float:
        """Start it and wait until it listens; how many seconds that took."""
        command = [sys.executable, "-m", "rkllmd.cli.daemon"]
        command += ["--config", str(self.folder / "rkllmd.yaml")]
        for setting in self._settings:
            command += ["--set", setting]
        surroundings = {
            **os.environ,
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            "PYTHONPATH": str(ROOT),
            **self._environment,
        }
        began = time.perf_counter()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=surroundings
            )
        self._hear("STATUS=starting")
        return time.perf_counter() - began

    def wait_ready(self) -> None:
        """Wait until every cache is verified and the daemon says that it is ready."""
        self._hear("READY=1")

    def stop(self) -> None:
        """End it as systemd does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(PATIENCE_SECONDS)
        self._process = None

    def connect(self) -> Lines:
        """A connection."""
        return Lines(self.socket)

    def ask(self, op: str, **members: Any) -> dict[str, Any]:
        """One request on a connection of its own; its final line."""
        with self.connect() as lines:
            return lines.ask(op, **members).final

    @property
    def pid(self) -> int:
        """The daemon's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def worker_pids(self) -> list[int]:
        """The processes that its engines live in."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]

    def _hear(self, word: str) -> None:
        try:
            while word not in self._notify.recv(65536).decode().splitlines():
                pass
        except TimeoutError:
            log = (self.folder / "log").read_text()
            raise SystemExit(f"the daemon did not say {word}; its log:\n{log}") from None


def cpu_seconds(*pids: int) -> float:
    """What processes have computed so far, all their threads together, to the nanosecond."""
    # The number of a process's CPU clock, as clock_getcpuclockid(3) makes it on Linux.
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def resident_mb(pid: int) -> float:
    """A process's memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
