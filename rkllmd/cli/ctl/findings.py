"""What the doctor sees on the board and in the files: a function for each thing looked at.

Nothing here needs root or a running daemon, and all of it takes the place of `/` as an argument, so
that a copy of another board's files can be looked at as well. A finding has a grade, the reason,
and, where something is to be done, the command that does it. `model_findings` and
`service_findings` have the rest.
"""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rkllmd.board.parse import DRIVER_ASKED_FOR, Board, driver_version
from rkllmd.config.document import ConfigError
from rkllmd.config.loader import Loaded
from rkllmd.config.settings import Config
from rkllmd.errors import EngineError
from rkllmd.native.library import FOLDERS, find_library
from rkllmd.native.quirks import QUIRKS
from rkllmd.native.version import VERSIONS, read_version

HOT_CELSIUS = 85
MEMORY_BYTES_MIN = 512 << 20
INOTIFY_MIN = {"max_user_watches": 8192, "max_user_instances": 128}
SERVICE_USER = "rkllmd"
RUNTIME_PAGE = "https://github.com/airockchip/rknn-llm"
UPDATE = (
    "apt update && apt full-upgrade, and reboot; if that brings no rknpu driver 0.9.8, install an"
    f" image of the board's vendor that has it (see {RUNTIME_PAGE})"
)
ASK_KERNEL = "sudo rkllmctl doctor, or sudo dmesg | grep -i rknpu"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    about: str
    grade: Literal["ok", "warning", "problem"]
    reason: str
    remedy: str = ""


def board(found: Board) -> Iterator[Finding]:
    """Chip, driver and device nodes."""
    if found.chip is None:
        yield Finding("board", "ok", "no NPU that is known here; .gguf models run on the CPU")
        return
    yield Finding("board", "ok", f"{found.chip}, {found.model or 'a board without a name'}")
    version = numbers(found.driver)
    if not found.devices:
        yield Finding("devices", "problem", "there is no device node of the NPU", UPDATE)
    if not version and found.devices:
        yield Finding("driver", "warning", "it does not tell its version to this user", ASK_KERNEL)
    elif version and version < DRIVER_ASKED_FOR:
        yield Finding(
            "driver", "warning",
            f"rknpu {found.driver}; the runtime asks for 0.9.8, and with older ones wrong answers"
            " and failed loads were reported", UPDATE,
        )  # fmt: skip
    elif version:
        yield Finding("driver", "ok", f"rknpu {found.driver}")


def devices(root: Path, found: Board) -> Iterator[Finding]:
    """Whether a group may use the NPU's nodes, and the service is in it."""
    names, served = _groups(root)
    for node in found.devices:
        try:
            status = (root / node.lstrip("/")).stat()
        except OSError as error:  # a link that outlived its device, or was copied without it
            yield Finding(
                "devices", "problem", f"{node} cannot be looked at: {error.strerror}",
                "udevadm control --reload && udevadm trigger",
            )  # fmt: skip
            continue
        group = names.get(status.st_gid, str(status.st_gid))
        if status.st_mode & 0o006 == 0o006:
            yield Finding("devices", "ok", f"{node} can be used by everybody")
        elif status.st_mode & 0o060 != 0o060:
            yield Finding(
                "devices", "problem", f"{node} can be used by its owner only",
                "udevadm control --reload && udevadm trigger",
            )  # fmt: skip
        elif served is not None and status.st_gid not in served:
            yield Finding(
                "groups", "problem",
                f"{node} is for the group {group}, which the user {SERVICE_USER} is not in",
                f"usermod -aG {group} {SERVICE_USER} && systemctl restart rkllmd",
            )  # fmt: skip
        else:
            yield Finding("devices", "ok", f"{node} can be used by the group {group}")


def _groups(root: Path) -> tuple[dict[int, str], set[int] | None]:
    """The groups' names, and those that the service is in; None where there is no service."""
    names, served = {}, set()
    for name, _, number, members in _lines(root / "etc/group", 4):
        names[int(number)] = name
        if SERVICE_USER in members.split(","):
            served.add(int(number))
    users = _lines(root / "etc/passwd", 7)
    own = next((int(fields[3]) for fields in users if fields[0] == SERVICE_USER), None)
    return names, None if own is None else served | {own}


def _lines(path: Path, count: int) -> list[list[str]]:
    """The lines of such a file that have so many fields."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return [fields for line in text.splitlines() if len(fields := line.split(":")) == count]


def clocks(found: Board) -> Iterator[Finding]:
    """Governors and temperatures."""
    if found.chip is None:
        return
    slow = [
        clock.name
        for clock in found.clocks
        if clock.name.startswith("cpu") and clock.governor not in {"performance", ""}
    ]
    if slow:
        yield Finding(
            "clocks", "warning",
            f"the governor of {', '.join(slow)} is not `performance`, which costs up to a quarter"
            " of the speed", "systemctl enable --now rkllmd-performance",
        )  # fmt: skip
    else:
        yield Finding("clocks", "ok", "the CPU keeps its highest clocks")
    hot = [one for one in found.temperatures if one.celsius >= HOT_CELSIUS]
    for one in hot:
        yield Finding(
            "temperature", "warning", f"{one.name} has {one.celsius:.0f} °C; the chip slows down",
            "give the board a heat sink or a fan",
        )  # fmt: skip
    if found.temperatures and not hot:
        warmest = max(one.celsius for one in found.temperatures)
        yield Finding("temperature", "ok", f"at most {warmest:.0f} °C")


def memory(found: Board) -> Iterator[Finding]:
    """Memory that is left."""
    if found.memory is None:
        return
    left = found.memory.available_bytes
    reason = f"{left >> 20} MiB of {found.memory.total_bytes >> 20} MiB are available"
    if left < MEMORY_BYTES_MIN:
        yield Finding(
            "memory", "warning", reason, "rkllmctl model list, and rkllmctl model unload NAME"
        )
    else:
        yield Finding("memory", "ok", reason)


def inotify(root: Path) -> Iterator[Finding]:
    """How many files may be watched."""
    for name, least in INOTIFY_MIN.items():
        try:
            value = int((root / "proc/sys/fs/inotify" / name).read_text())
        except (OSError, ValueError):
            continue
        if value < least:
            yield Finding(
                "inotify", "warning", f"fs.inotify.{name} is {value}; changes may go unnoticed",
                f"sysctl -w fs.inotify.{name}={least} | tee -a /etc/sysctl.d/60-rkllmd.conf",
            )  # fmt: skip
        else:
            yield Finding("inotify", "ok", f"fs.inotify.{name} is {value}")


def config_file(read: Loaded | ConfigError) -> Finding:
    """Whether the configuration can be used."""
    if isinstance(read, ConfigError):
        remedy = "mend what it names, then rkllmctl config check"
        return Finding("config", "problem", str(read), remedy)
    return Finding("config", "ok", str(read.file))


def library(root: Path, config: Config, environ: Mapping[str, str]) -> Path | EngineError:
    """The vendor's library, or why there is none."""
    folders = tuple(str(root / folder.lstrip("/")) for folder in FOLDERS)
    try:
        return find_library(config.engine.library, environ, folders)
    except EngineError as error:
        return error


def runtime(path: Path | EngineError, config: Config, *, needed: bool) -> Iterator[Finding]:
    """The vendor's library: its version, and what is known of that."""
    if isinstance(path, EngineError):
        if needed or config.engine.library:
            yield Finding(
                "runtime", "problem", path.message,
                f"copy librkllmrt.so from {RUNTIME_PAGE} to /usr/lib, then rkllmctl reload",
            )  # fmt: skip
        return
    try:
        version = read_version(path)
        digest = _sha256(path)
    except OSError as error:
        yield Finding(
            "runtime", "problem", f"{path} cannot be read: {error.strerror}", f"chmod a+rx {path}"
        )
        return
    reason = f"{path}, version {version or 'unknown'}, sha256 {digest}"
    if version in VERSIONS or config.engine.layout:
        yield Finding("runtime", "ok", reason)
    else:
        yield Finding(
            "runtime", "problem", f"{reason}; known are {', '.join(VERSIONS)}",
            "install a known release, or set engine.layout",
        )  # fmt: skip
    for quirk in QUIRKS:
        if version in quirk.versions:
            yield Finding("runtime", "warning", f"{version}: {quirk.problem} ({quirk.source})",
                          quirk.remedy)  # fmt: skip


def cache_folder(config: Config) -> Iterator[Finding]:
    """Whether caches can be kept."""
    folder = Path(config.paths.cache)
    if not config.cache.enabled:
        yield Finding(
            "caches", "warning", "they are switched off by cache.enabled",
            "set cache.enabled: true, then rkllmctl reload",
        )  # fmt: skip
        return
    try:
        free = shutil.disk_usage(folder).free
    except FileNotFoundError:
        yield Finding("cache folder", "ok", f"{folder} is made when the daemon starts")
        return
    except OSError as error:
        yield Finding(
            "cache folder", "warning", f"{folder} cannot be looked at: {error.strerror}",
            "sudo rkllmctl doctor, or set another paths.cache",
        )  # fmt: skip
        return
    reason = f"{folder}, {free >> 20} MiB are free"
    if free < config.cache.free_bytes_min:
        yield Finding(
            "cache folder", "warning",
            f"{reason}, and {config.cache.free_bytes_min >> 20} MiB are to stay free",
            f"free space on the disk of {folder}",
        )  # fmt: skip
    else:
        yield Finding("cache folder", "ok", reason)


def numbers(driver: str | None) -> tuple[int, ...]:
    """A driver's version, to be compared; empty where it is not known."""
    told = driver_version(driver or "")
    return tuple(map(int, told.split("."))) if told else ()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
