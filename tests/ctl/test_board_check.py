"""The report of a board, on this machine, which is none."""

import subprocess
import sys

from tests.daemon.household import ROOT


def test_the_report_has_board_daemon_and_figures(ctl):
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "board-check"], env=ctl.environment, text=True,
        capture_output=True, check=True, timeout=50,
    )  # fmt: skip
    heads = [line for line in done.stdout.splitlines() if line.startswith("## ")]
    assert heads == ["## Board", "## doctor", "## status", "## model list", "## cache list",
                     "## bench --runs 3"]  # fmt: skip
    assert done.stdout.count("exit status 0") == 5, done.stdout
    assert "/proc/rknpu/version: " in done.stdout
