"""Values from the texts of the kernel's files, and what in them a person should know."""

import re
from dataclasses import dataclass

CHIPS = ("rk3588", "rk3576", "rk3562", "rv1126b")
DRIVER_ASKED_FOR = (0, 9, 8)
"""By every guide of the runtime from 1.1.0 on."""

_LOAD = re.compile(r"(\d+)%")
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class Clock:
    """Something that has a frequency: the NPU, the memory, or CPUs that share one."""

    name: str
    """As the kernel calls it: `fdab0000.npu`, `dmc`, `cpu4-7`."""
    hertz: int | None
    hertz_max: int | None
    governor: str


@dataclass(frozen=True, slots=True)
class Temperature:
    """One sensor."""

    name: str
    celsius: float


@dataclass(frozen=True, slots=True)
class Memory:
    """What the kernel counts as memory."""

    total_bytes: int
    available_bytes: int


@dataclass(frozen=True, slots=True)
class Board:
    """Everything that was found."""

    chip: str | None
    model: str | None
    """The board's own name."""
    driver: str | None
    npu_load: tuple[int, ...]
    """Percent of each NPU core."""
    clocks: tuple[Clock, ...]
    temperatures: tuple[Temperature, ...]
    memory: Memory | None
    devices: tuple[str, ...]
    """The nodes by which the NPU can be reached."""


def chip(compatible: str) -> str | None:
    """The chip that a device tree's `compatible` names; an RK3588S is an RK3588 here."""
    names = re.split(r"[\0,\s]+", compatible.lower())
    return next((one.upper() for one in CHIPS for name in names if name.startswith(one)), None)


def driver_version(text: str) -> str | None:
    """`RKNPU driver: v0.9.8` and `0.9.8` alike."""
    found = _VERSION.search(text)
    return found[0] if found else None


def npu_load(text: str) -> tuple[int, ...]:
    """`NPU load:  Core0: 45%, Core1: 45%,` on several cores, `NPU load: 45%` on one."""
    return tuple(int(percent) for percent in _LOAD.findall(text))


def number(text: str | None) -> int | None:
    """A file with one whole number."""
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def cpus(text: str) -> str:
    """`cpu4-7` of `4 5 6 7`."""
    numbers = text.split()
    if len(numbers) < 2:
        return f"cpu{''.join(numbers)}"
    return f"cpu{numbers[0]}-{numbers[-1]}"


def memory(meminfo: str) -> Memory | None:
    """Total and available memory of /proc/meminfo."""
    sizes = dict(re.findall(r"^(\w+):\s+(\d+) kB", meminfo, re.MULTILINE))
    try:
        return Memory(int(sizes["MemTotal"]) * 1024, int(sizes["MemAvailable"]) * 1024)
    except KeyError:
        return None


def remarks(board: Board) -> tuple[str, ...]:
    """What keeps this board from being as fast or as reliable as it could be."""
    found = []
    version = _VERSION.search(board.driver or "")
    if version and tuple(map(int, version.groups())) < DRIVER_ASKED_FOR:
        found.append(
            f"The NPU driver is {board.driver}; the runtime asks for 0.9.8, and with older ones"
            " wrong answers and failed loads were reported."
        )
    slow = [
        clock.name
        for clock in board.clocks
        if clock.name.startswith("cpu") and clock.governor not in {"performance", ""}
    ]
    if board.chip and slow:
        found.append(
            f"The CPU governor of {', '.join(slow)} is not `performance`; with it, 13.0 in place of"
            " 9.8 tokens per second were measured on an RK3588."
        )
    if board.chip and not board.devices:
        found.append("There is no device node of the NPU; the vendor's kernel driver is missing.")
    return tuple(found)
