"""The same package in an arm64 userland that qemu runs: a board's programs, without the board.

The binding is tried on the simulated runtime, built for aarch64. systemd is not booted: qemu's user
mode has no seccomp and no private networks, so the unit's sandbox could not start.
"""

import platform
import subprocess
from pathlib import Path

import pytest

from tests.fakes.rkllm.build import build
from tests.fakes.rkllm.built import NEWEST, make_model
from tests.systemd.conftest import ALWAYS, MINUTES, ROOT, debian
from tests.systemd.machine import why_not

REASON = why_not("qemu-aarch64-static", "update-binfmts", "arch-test", "aarch64-linux-gnu-gcc")
FORMATS = "/proc/sys/fs/binfmt_misc"

pytestmark = [
    # Its root alone takes minutes.
    pytest.mark.timeout(30 * MINUTES),
    pytest.mark.skipif(REASON is not None and not ALWAYS, reason=str(REASON)),
]


@pytest.fixture
def root():
    """An arm64 root, whose programs the kernel hands to qemu."""
    foreign = platform.machine() != "aarch64"
    if foreign and not Path(FORMATS, "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", FORMATS], check=True)
    if foreign and not Path(FORMATS, "qemu-aarch64").exists():
        subprocess.run(["update-binfmts", "--enable", "qemu-aarch64"], check=True)
    return debian("bookworm", "arm64")


def test_it_installs_and_answers_with_both_engines(packages, root, tmp_path):
    make_model(tmp_path / "model.rkllm")
    build(NEWEST, tmp_path / "librkllmrt.so", compiler="aarch64-linux-gnu-gcc")
    binds = {packages: "/packages", tmp_path: "/vendor", ROOT / "tests/systemd": "/tests"}
    command = [
        "systemd-nspawn", "--quiet", "--pipe", "--register=no", "--keep-unit", "--volatile=overlay",
        "--private-network", f"--directory={root}",
        *(f"--bind-ro={here}:{there}" for here, there in binds.items()), "/tests/on_arm64",
    ]  # fmt: skip
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=20 * MINUTES,
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert said[0] == "aarch64"
    answers = dict(line.split(": ", 1) for line in said[1:3])
    assert answers["bundled"]
    assert answers["vendor"]
    assert '"state": "verified"' in done.stdout
    assert said[-1] == "stopped"
