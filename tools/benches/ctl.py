"""What `rkllmctl status --json` takes, as a script runs it: a process from its start to its exit.

Beside it, in turns, is an interpreter that does nothing, which no Python program goes below.
"""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from tools.benches.daemon import BUNDLED, Daemon
from tools.benches.report import Report, Table, number, spread

ROOT = Path(__file__).resolve().parents[2]
WARM_UP = 3
COMMANDS = {
    "an interpreter that does nothing": ("-c", "pass"),
    "`rkllmctl status --json`": ("-m", "rkllmd.cli.ctl", "status", "--json"),
}


def measure(model: Path = BUNDLED, rounds: int = 40) -> Report:
    """Processes, one after another."""
    with Daemon(model) as daemon:
        daemon.start()
        daemon.wait_ready()
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "RKLLMD_SOCKET": str(daemon.folder / "run" / "rkllmd.sock"),
        }
        samples: dict[str, list[float]] = {name: [] for name in COMMANDS}
        work: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for turn in range(WARM_UP + rounds):
            for name, arguments in COMMANDS.items():
                began, used = time.perf_counter(), _cpu_seconds()
                subprocess.run(
                    [sys.executable, *arguments], env=environment, check=True, capture_output=True
                )
                if turn >= WARM_UP:
                    samples[name].append((time.perf_counter() - began) * 1000)
                    work[name].append((_cpu_seconds() - used) * 1000)
    tables = [
        _table(f"From start to exit, in ms, {rounds} times.", samples),
        _table("CPU time of the process, in ms.", work),
    ]
    return Report("ctl", tables, {"ms": samples, "cpu_ms": work})


def _table(title: str, samples: dict[str, list[float]]) -> Table:
    rows = [(name, *map(number, spread(values, (0.5, 0.99)))) for name, values in samples.items()]
    return Table(title, ("process", "min", "p50", "p99", "max"), rows)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
