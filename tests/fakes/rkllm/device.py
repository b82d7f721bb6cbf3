"""The simulated NPU's device node, as `device.c` gives it out: who has it, and how many handles.

A daemon gets it in the environment, under `VARIABLE`.
"""

import fcntl
from contextlib import suppress
from pathlib import Path

VARIABLE = "RKLLM_SIM_DEVICE"
HANDLES_MAX = 16


def handles(device: Path) -> int:
    """How many handles were taken and not given back."""
    taken = 0
    with device.open("r+b") as file:
        for number in range(HANDLES_MAX):
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except BlockingIOError:
                taken += 1
            else:
                fcntl.lockf(file, fcntl.LOCK_UN, 1, number)
    return taken


def holders(device: Path) -> list[int]:
    """The processes that have it open, each as often as it has."""
    found = []
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # it was closed meanwhile, or is somebody else's
            if descriptor.readlink() == device:
                found.append(int(descriptor.parts[2]))
    return sorted(found)
