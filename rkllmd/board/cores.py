"""Which CPUs are the fast ones."""

import os
from pathlib import Path

from rkllmd.board import parse

BIG_SHARE = 0.75
"""A core with at least this share of the greatest capacity is big: an RK3588's A76 cores are within
5 % of each other, and its A55 have about half of that."""


def big_cores(root: Path = Path("/")) -> frozenset[int]:
    """The cores that this process may use and that are big; all it may use where none differ.

    The kernel says a core's capacity where the device tree does, so on every big.LITTLE board. The
    greatest frequency would not do: an RK3576's small cores have nearly that of its big ones.
    """
    allowed = os.sched_getaffinity(0)
    capacities = {core: _capacity(root, core) for core in allowed}
    greatest = max(capacities.values())
    return frozenset(core for core in allowed if capacities[core] >= BIG_SHARE * greatest)


def _capacity(root: Path, core: int) -> int:
    try:
        text = (root / f"sys/devices/system/cpu/cpu{core}/cpu_capacity").read_text()
    except OSError:
        return 0
    return parse.number(text.strip()) or 0
