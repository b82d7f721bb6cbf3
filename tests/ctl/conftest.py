"""Daemons to be talked to, and rkllmctl as a process."""

import contextlib
import json
import os
import subprocess
import sys

import pytest

from tests.daemon.conftest import assistant, household, other_parrot, parrot, running
from tests.daemon.household import PATIENCE_SECONDS, ROOT

__all__ = ["assistant", "household", "other_parrot", "parrot", "running"]


class Ctl:
    """rkllmctl, told where the daemon is."""

    def __init__(self, home) -> None:
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "RKLLMD_SOCKET": str(home.socket),
            "RKLLMD_CONFIG": str(home.folder / "rkllmd.yaml"),
            "XDG_STATE_HOME": str(home.folder / "state"),
        }
        self.command = [sys.executable, "-W", "error", "-m", "rkllmd.cli.ctl"]

    def run(self, *arguments, text="", status=0):
        """Run a command; its output, once its exit status is the expected one."""
        done = subprocess.run(
            [*self.command, *arguments], input=text, capture_output=True, text=True, check=False,
            env=self.environment, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == status, (done.stdout, done.stderr)
        return done.stdout if status == 0 or done.stdout else done.stderr

    def json(self, *arguments, status=0, text=""):
        """Run a command with --json; the last line of it."""
        return json.loads(self.run(*arguments, "--json", status=status, text=text).splitlines()[-1])

    @contextlib.contextmanager
    def start(self, *arguments, **more):
        """Begin a command that goes on."""
        process = subprocess.Popen(
            [*self.command, *arguments], env=self.environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more,
        )  # fmt: skip
        with process:
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture
def ctl(running):
    """rkllmctl on a daemon that nobody changes."""
    return Ctl(running)


@pytest.fixture
def ctl_of():
    """rkllmctl on any daemon."""
    return Ctl
