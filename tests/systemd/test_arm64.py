"""The same package in an arm64 userland that qemu runs: a board's programs, without the board.

The binding is tried on the simulated runtime, built for aarch64. systemd is not booted: qemu's user
mode has no seccomp and no private networks, so the unit's sandbox could not start.
"""

import os
import subprocess

import pytest

from tests.fakes.rkllm.build import build
from tests.fakes.rkllm.built import NEWEST, make_model
from tests.systemd.conftest import ROOT, debian

MINUTES = 60

pytestmark = pytest.mark.skipif(
    "RKLLMD_ARM64_TESTS" not in os.environ,
    reason="its root takes minutes to make, and needs qemu-user-static, binfmt-support, arch-test"
    " and gcc-aarch64-linux-gnu; set RKLLMD_ARM64_TESTS=1",
)


def test_it_installs_and_answers_with_both_engines(packages, tmp_path):
    make_model(tmp_path / "model.rkllm")
    build(NEWEST, tmp_path / "librkllmrt.so", compiler="aarch64-linux-gnu-gcc")
    binds = {packages: "/packages", tmp_path: "/vendor", ROOT / "tests/systemd": "/tests"}
    command = [
        "systemd-nspawn", "--quiet", "--pipe", "--register=no", "--keep-unit", "--volatile=overlay",
        "--private-network", f"--directory={debian('bookworm', 'arm64')}",
        *(f"--bind-ro={here}:{there}" for here, there in binds.items()), "/tests/on_arm64",
    ]  # fmt: skip
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=5 * MINUTES,
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert said[0] == "aarch64"
    answers = dict(line.split(": ", 1) for line in said[1:3])
    assert answers["bundled"]
    assert answers["vendor"]
    assert '"state": "verified"' in done.stdout
    assert said[-1] == "stopped"
