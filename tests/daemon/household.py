"""A daemon as its users have it: a process on real files, and a notify socket that remembers."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from rkllmd.client import Client

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 50
SYSTEM = (
    "You are Nova, the voice assistant of this home. You are talking to Alex. Answer in one short "
    "sentence. The rooms are kitchen, bath and garden. The cat is called Pepper. "
) * 4


class Household:
    """A folder with models, prompts and caches, and the daemon that serves them."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        self.socket = folder / "run" / "rkllmd.sock"
        self.prompts = folder / "config"
        self.cache = folder / "cache"
        self.models = folder / "models"
        self.settings = ["models.settle_s=0.2", "shutdown.drain_s=5", "http.port=0"]
        self.said: list[str] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "log"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(folder / "notify"))
        self._notify.settimeout(PATIENCE_SECONDS)
        (self.prompts / "prompts").mkdir(parents=True)
        (folder / "rkllmd.yaml").write_text(
            "paths: {models: [models], cache: cache, prompts: config, runtime: run}\n"
        )
        self.add_model("parrot", model)
        self.write_prompt("system", SYSTEM)

    def add_model(self, name: str, file: Path) -> Path:
        """Put a model's folder there."""
        target = self.models / name / "model.gguf"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        return target

    def write_prompt(self, name: str, text: str) -> Path:
        """Write a prompt as an administrator does."""
        path = self.prompts / ("system.txt" if name == "system" else f"prompts/{name}.txt")
        path.write_text(text)
        return path

    def start(self, *, wait: bool = True, **environment: str) -> "Household":
        """Start the daemon, and wait until it says that it is ready."""
        command = [sys.executable, "-W", "error", "-m", "rkllmd.cli.daemon"]
        command += ["--config", str(self.folder / "rkllmd.yaml")]
        for setting in self.settings:
            command += ["--set", setting]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "NOTIFY_SOCKET": str(self.folder / "notify"),
                    "PYTHONPATH": str(ROOT),
                    **environment,
                },
            )
        if wait:
            self.hear("READY=1")
        return self

    def hear(self, word: str) -> str:
        """Wait for a notification that has this line; everything heard is kept in `said`."""
        try:
            while True:
                message = self._notify.recv(65536).decode()
                self.said.append(message)
                if word in message.splitlines():
                    return message
        except TimeoutError:
            raise AssertionError(f"{word} was not said; the log:\n{self.log.read_text()}") from None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the daemon with a signal; its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(PATIENCE_SECONDS)
        self.process = None
        return status

    def restart(self) -> "Household":
        """Stop it and start it again."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self.stop(signal.SIGKILL)
        self._notify.close()

    def client(self) -> Client:
        """A connection to the daemon."""
        return Client(str(self.socket), timeout_s=PATIENCE_SECONDS)

    def ask(self, op: str = "chat", **members):
        """One request on a connection of its own; its final event."""
        with self.client() as client:
            return client.call(op, **members)

    def greedy(self, text: str, **members):
        """A chat whose answer is always the same."""
        members = {"temperature": 0, "max_tokens": 12, "stream": False, **members}
        return self.ask(text=text, **members)

    def caches(self) -> dict[str, str]:
        """The state of each cache, by name."""
        found = self.ask("cache.list")["caches"]
        return {f"{one['model']}/{one['name']}": one["state"] for one in found}

    def until(self, condition, what: str = "the condition"):
        """Wait until something is so, which the daemon's own news announce."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not (result := condition()):
            assert time.monotonic() < end, f"{what} did not come; log:\n{self.log.read_text()}"
            time.sleep(0.05)
        return result

    def worker_pids(self) -> list[int]:
        """The processes of the workers."""
        assert self.process is not None
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]
