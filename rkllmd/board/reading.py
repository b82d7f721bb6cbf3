"""Where the kernel keeps what it says of the board, below a root that tests replace by a tree."""

from collections.abc import Iterator
from pathlib import Path

from rkllmd.board import parse
from rkllmd.board.drm import npu_driver_version
from rkllmd.board.parse import Board, Clock, Temperature

DEVICE_TREES = ("proc/device-tree", "sys/firmware/devicetree/base")
DRIVER_FILES = (
    "proc/rknpu/version", "sys/module/rknpu/version", "sys/kernel/debug/rknpu/version",
)  # fmt: skip
LOAD_FILES = ("proc/rknpu/load", "sys/kernel/debug/rknpu/load")
MEMORY_CLOCK = "dmc"


def read_board(root: Path = Path("/")) -> Board:
    """Look at everything once; some twenty small files."""
    return Board(
        chip=parse.chip(_first(root, [f"{tree}/compatible" for tree in DEVICE_TREES])),
        model=_first(root, [f"{tree}/model" for tree in DEVICE_TREES]) or None,
        driver=_driver(root),
        npu_load=parse.npu_load(_first(root, LOAD_FILES)),
        clocks=(*_devfreq_clocks(root), *_cpu_clocks(root)),
        temperatures=tuple(_temperatures(root)),
        memory=parse.memory(_first(root, ["proc/meminfo"])),
        devices=tuple(f"/{node.relative_to(root)}" for node in _nodes(root)),
    )


def available_memory(root: Path = Path("/")) -> int | None:
    """How much memory can be had without swapping, where the kernel says it."""
    memory = parse.memory(_first(root, ["proc/meminfo"]))
    return memory.available_bytes if memory else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return None


def _first(root: Path, rpaths: list[str] | tuple[str, ...]) -> str:
    return next((text for rpath in rpaths if (text := _text(root / rpath))), "")


def _driver(root: Path) -> str | None:
    told = parse.driver_version(_first(root, DRIVER_FILES))
    if told is not None:
        return told
    asked = map(npu_driver_version, sorted((root / "dev/dri").glob("render*")))
    return next((version for version in asked if version), None)


def _nodes(root: Path) -> Iterator[Path]:
    if (root / "dev/rknpu").exists():
        yield root / "dev/rknpu"
    yield from sorted((root / "dev/dri/by-path").glob("*.npu-render"))


def _devfreq_clocks(root: Path) -> Iterator[Clock]:
    for folder in sorted((root / "sys/class/devfreq").glob("*")):
        if folder.name.endswith(".npu") or folder.name == MEMORY_CLOCK:
            yield Clock(
                folder.name,
                parse.number(_text(folder / "cur_freq")),
                parse.number(_text(folder / "max_freq")),
                _text(folder / "governor") or "",
            )


def _cpu_clocks(root: Path) -> Iterator[Clock]:
    for folder in sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy*")):
        yield Clock(
            parse.cpus(_text(folder / "related_cpus") or ""),
            _kilohertz(folder / "scaling_cur_freq"),
            _kilohertz(folder / "scaling_max_freq"),
            _text(folder / "scaling_governor") or "",
        )


def _kilohertz(path: Path) -> int | None:
    kilohertz = parse.number(_text(path))
    return None if kilohertz is None else kilohertz * 1000


def _temperatures(root: Path) -> Iterator[Temperature]:
    for folder in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        millidegrees = parse.number(_text(folder / "temp"))
        if millidegrees is not None:
            yield Temperature(_text(folder / "type") or folder.name, millidegrees / 1000)
