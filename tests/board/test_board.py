"""A board from a tree of files, whole and in pieces."""

import ctypes
import errno
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkllmd.board import parse
from rkllmd.board.drm import DRM_IOCTL_VERSION, VERSION, npu_driver_version
from rkllmd.board.parse import Board, Clock, Memory, Temperature, remarks
from rkllmd.board.reading import read_board

NPU = "sys/class/devfreq/fdab0000.npu"
CPU = "sys/devices/system/cpu/cpufreq"
ROCK = {
    "proc/device-tree/compatible": "radxa,rock-5b\0rockchip,rk3588\0",
    "proc/device-tree/model": "Radxa ROCK 5B\0",
    "sys/module/rknpu/version": "0.9.8\n",
    "sys/kernel/debug/rknpu/load": "NPU load:  Core0: 45%, Core1:  4%, Core2:  0%,\n",
    f"{NPU}/cur_freq": "1000000000\n",
    f"{NPU}/max_freq": "1000000000\n",
    f"{NPU}/governor": "rknpu_ondemand\n",
    "sys/class/devfreq/fb000000.gpu/cur_freq": "300000000\n",
    "sys/class/devfreq/dmc/cur_freq": "2112000000\n",
    f"{CPU}/policy0/related_cpus": "0 1 2 3\n",
    f"{CPU}/policy0/scaling_cur_freq": "1800000\n",
    f"{CPU}/policy0/scaling_max_freq": "1800000\n",
    f"{CPU}/policy0/scaling_governor": "performance\n",
    f"{CPU}/policy4/related_cpus": "4\n",
    f"{CPU}/policy4/scaling_governor": "ondemand\n",
    "sys/class/thermal/thermal_zone0/type": "soc-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "44384\n",
    "sys/class/thermal/thermal_zone1/temp": "-1500\n",
    "sys/class/thermal/thermal_zone2/type": "broken\n",
    "sys/class/thermal/thermal_zone2/temp": "what\n",
    "proc/meminfo": "MemTotal:       16334772 kB\nMemFree: 1 kB\nMemAvailable:   12000000 kB\n",
    "dev/dri/by-path/platform-fdab0000.npu-render": "",
    "dev/dri/renderD129": "",
}


def tree(root: Path, files: dict[str, str]) -> Path:
    for rpath, text in files.items():
        path = root / rpath
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_whole_board(tmp_path: Path) -> None:
    assert read_board(tree(tmp_path, ROCK)) == Board(
        chip="RK3588",
        model="Radxa ROCK 5B",
        driver="0.9.8",
        npu_load=(45, 4, 0),
        clocks=(
            Clock("dmc", 2_112_000_000, None, ""),
            Clock("fdab0000.npu", 10**9, 10**9, "rknpu_ondemand"),
            Clock("cpu0-3", 1_800_000_000, 1_800_000_000, "performance"),
            Clock("cpu4", None, None, "ondemand"),
        ),
        temperatures=(Temperature("soc-thermal", 44.384), Temperature("thermal_zone1", -1.5)),
        memory=Memory(16334772 * 1024, 12000000 * 1024),
        devices=("/dev/dri/by-path/platform-fdab0000.npu-render",),
    )


@pytest.mark.parametrize("gone", sorted(ROCK))
def test_a_file_that_is_missing_takes_nothing_else_with_it(tmp_path: Path, gone: str) -> None:
    board = read_board(tree(tmp_path, {rpath: ROCK[rpath] for rpath in ROCK if rpath != gone}))
    whole = {"chip": "RK3588", "driver": "0.9.8", "npu_load": (45, 4, 0)}
    different = [name for name, value in whole.items() if getattr(board, name) != value]
    assert len(different) <= 1


def test_no_board_at_all(tmp_path: Path) -> None:
    board = read_board(tmp_path)
    assert board == Board(None, None, None, (), (), (), None, ())
    assert remarks(board) == ()
    read_board()  # whatever this machine is


@pytest.mark.parametrize(
    ("rpath", "text"),
    [
        ("proc/rknpu/version", "RKNPU driver: v0.9.6\n"),
        ("sys/kernel/debug/rknpu/version", "RKNPU driver: v0.9.6\n"),
        ("sys/module/rknpu/version", "0.9.6"),
    ],
)
def test_each_way_to_the_drivers_version(tmp_path: Path, rpath: str, text: str) -> None:
    board = read_board(tree(tmp_path, {rpath: text}))
    assert board.driver == "0.9.6"
    assert "0.9.6" in remarks(board)[0]


@pytest.mark.parametrize(
    ("compatible", "chip"),
    [
        ("rockchip,rk3588s-orangepi-5\0rockchip,rk3588", "RK3588"),
        ("friendlyarm,nanopi-m5\0rockchip,rk3576\0", "RK3576"),
        ("rockchip,rk3562-evb\0rockchip,rk3562", "RK3562"),
        ("rockchip,rv1126b", "RV1126B"),
        ("rockchip,rk3399", None),
        ("", None),
    ],
)
def test_chips(compatible: str, chip: str | None) -> None:
    assert parse.chip(compatible) == chip


def test_load_of_one_core() -> None:
    assert parse.npu_load("NPU load: 45%\n") == (45,)
    assert parse.npu_load("NPU load: \n") == ()


@given(st.text())
def test_no_text_breaks_a_parser(text: str) -> None:
    parse.chip(text)
    parse.driver_version(text)
    parse.npu_load(text)
    parse.number(text)
    parse.cpus(text)
    parse.memory(text)


def test_remarks_name_what_slows_a_board_down(tmp_path: Path) -> None:
    board = read_board(tree(tmp_path, ROCK))
    (only,) = remarks(board)
    assert "cpu4" in only
    assert "cpu0-3" not in only
    bare = read_board(tree(tmp_path / "bare", {"proc/device-tree/compatible": "rockchip,rk3576"}))
    assert "device node" in remarks(bare)[0]


def answering(name: bytes, *version: int):
    """An ioctl of a driver of that name."""

    def ioctl(descriptor: int, request: int, data: bytearray, mutate: bool) -> int:
        assert request == DRM_IOCTL_VERSION
        assert mutate
        *_, room, address, _, _, _, _ = VERSION.unpack(data)
        assert len(name) <= room
        assert address != 0
        data[:] = VERSION.pack(*version, len(name), address, 0, 0, 0, 0)
        ctypes.memmove(address, name, len(name))
        return 0

    return ioctl


def test_the_drivers_version_from_its_node(tmp_path: Path) -> None:
    node = tmp_path / "renderD129"
    node.touch()
    assert npu_driver_version(node, answering(b"rknpu", 0, 9, 8)) == "0.9.8"
    assert npu_driver_version(node, answering(b"panthor", 1, 0, 0)) is None
    assert npu_driver_version(node) is None  # a file is no device
    assert npu_driver_version(tmp_path / "gone") is None

    def refuse(*_: object) -> int:
        raise OSError(errno.EACCES, "no")

    assert npu_driver_version(node, refuse) is None
    if struct.calcsize("P") == 8:
        assert DRM_IOCTL_VERSION == 0xC0406400
