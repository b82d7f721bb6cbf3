"""A disk that loses power: it does every call for real and remembers what a cut would leave of it.

The model is harsher than the file systems in use. Content that was not flushed is lost (an empty
file), torn (its first half) or there; names that were not flushed may each be there or not, in any
combination, but one rename is done or not done as a whole.
"""

import itertools
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from rkllmd.promptcache.disk import Disk

Inode = int
Names = dict[str, Inode]


class PowerCut(BaseException):
    """Nothing is done from here on; no error that anybody may catch."""


class UnflushedDisk(Disk):
    """A disk that does not wait, for tests in which the real one loses no power."""

    def sync(self, folder: int, name: str) -> None:
        if self.facts(folder, name) is None:
            raise FileNotFoundError(name)

    def sync_folder(self, folder: int) -> None:
        pass


class SimDisk(UnflushedDisk):
    """Counts calls that change something and cuts the power before the one numbered `cut_at`."""

    def __init__(self, root: Path, cut_at: int | None = None) -> None:
        self.top = root
        self.cut_at = cut_at
        self.calls: list[str] = []
        self._contents: dict[Inode, bytes | None] = {}
        """Flushed content; None where it never was."""
        self._flushed: dict[str, Names] = {}
        """Flushed names of each folder, by path relative to the top."""
        self._pending: dict[str, list[Names]] = {}
        """Changes of names since, in order; -1 removes."""
        for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
            self._flushed[self._relative(folder)] = self._listing(folder)
        for path in root.rglob("*"):
            if path.is_file():
                self._contents[path.stat().st_ino] = path.read_bytes()

    # What the store calls

    def make_child(self, folder: int, name: str) -> None:
        self._step(f"mkdir {name}")
        super().make_child(folder, name)
        where = self._path(folder)
        self._note(where, {name: (where / name).stat().st_ino})
        self._flushed.setdefault(self._relative(where / name), {})

    def write(self, folder: int, name: str, data: bytes) -> None:
        self._step(f"write {name}")
        super().write(folder, name, data)
        self.wrote(self._path(folder) / name)

    def wrote(self, path: Path) -> None:
        """A file was made, by the store or by an engine."""
        inode = path.stat().st_ino
        self._contents[inode] = None
        self._note(path.parent, {path.name: inode})

    def sync(self, folder: int, name: str) -> None:
        self._step(f"fsync {name}")
        super().sync(folder, name)
        path = self._path(folder) / name
        self._contents[path.stat().st_ino] = path.read_bytes()

    def sync_folder(self, folder: int) -> None:
        self._step("fsync folder")
        super().sync_folder(folder)
        where = self._path(folder)
        self._flushed[self._relative(where)] = self._listing(where)
        self._pending[self._relative(where)] = []

    def rename(self, folder: int, old: str, new: str) -> None:
        self._step(f"rename {old} {new}")
        where = self._path(folder)
        inode = (where / old).stat().st_ino
        if (where / old).is_dir():
            for kept in (self._flushed, self._pending):
                if self._relative(where / old) in kept:
                    kept[self._relative(where / new)] = kept.pop(self._relative(where / old))
        super().rename(folder, old, new)
        self._note(where, {old: -1, new: inode})

    def unlink(self, folder: int, name: str) -> None:
        self._step(f"unlink {name}")
        super().unlink(folder, name)
        self._note(self._path(folder), {name: -1})

    # What a cut leaves

    def aftermaths(self, seed: int) -> Iterator[Callable[[Path], None]]:
        """Ways that the disk may look after the cut, each a function that makes it in a folder."""
        chance = random.Random(seed)
        count = sum(map(len, self._pending.values()))
        if count <= 4:
            choices = list(itertools.product((False, True), repeat=count))
        else:
            choices = [(False,) * count, (True,) * count]
            choices += [tuple(chance.random() < 0.5 for _ in range(count)) for _ in range(4)]
        for choice in choices:
            for content in ("lost", "torn", "there"):
                yield lambda target, choice=choice, content=content: self._make(
                    target, iter(choice), content
                )

    def _make(self, target: Path, choice: Iterator[bool], content: str) -> None:
        live = {
            path.stat().st_ino: path.read_bytes() for path in self.top.rglob("*") if path.is_file()
        }
        folders = {
            path.stat().st_ino: self._relative(path)
            for path in self.top.rglob("*")
            if path.is_dir()
        }
        names = {}
        for folder in sorted(set(self._flushed) | set(self._pending)):
            names[folder] = dict(self._flushed.get(folder, {}))
            for change in self._pending.get(folder, []):
                if next(choice):
                    names[folder] |= change

        def fill(target: Path, folder: str) -> None:
            target.mkdir()
            for name, inode in names[folder].items():
                if inode in folders:
                    fill(target / name, folders[inode])
                elif inode != -1:
                    (target / name).write_bytes(self._left(inode, live, content))

        fill(target, "")

    def _left(self, inode: Inode, live: dict[Inode, bytes], content: str) -> bytes:
        flushed = self._contents[inode]
        if flushed is not None:
            return flushed
        data = live.get(inode, b"")
        return {"lost": b"", "torn": data[: len(data) // 2], "there": data}[content]

    def _step(self, call: str) -> None:
        if self.cut_at is not None and len(self.calls) >= self.cut_at:
            raise PowerCut
        self.calls.append(call)

    def _note(self, folder: Path, change: Names) -> None:
        self._pending.setdefault(self._relative(folder), []).append(change)

    def _path(self, folder: int) -> Path:
        return Path(f"/proc/self/fd/{folder}").readlink()

    def _relative(self, path: Path) -> str:
        relative = str(path.relative_to(self.top))
        return "" if relative == "." else relative

    def _listing(self, folder: Path) -> Names:
        return {entry.name: entry.inode() for entry in os.scandir(folder)}
