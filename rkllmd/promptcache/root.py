"""The open root of the cache folder: its lock, its own files, and the models' folders below it."""

import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rkllmd.errors import Code, RequestError, StorageError
from rkllmd.ids import NAME_RULE, ModelName, is_name
from rkllmd.promptcache.disk import Disk
from rkllmd.promptcache.folder import Digests, ModelFolder
from rkllmd.promptcache.refusals import refusal

TAG_FILE = "CACHEDIR.TAG"
TAG = (
    b"Signature: 8a477f597d28d172789f06886806bc55\n"
    b"# rkllmd keeps the states of language models after their prompts here.\n"
    b"# All but the prompts made by clients can be built again.\n"
)
USAGE_FILE = ".usage.json"
FINDINGS_FILE = ".findings.json"


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a start found to do."""

    finished: int = 0
    """Changes whose last steps were done."""
    removed: int = 0
    """Leftovers."""
    problems: tuple[str, ...] = ()
    """What could not be done; entries can be read all the same."""


def check_name(name: str) -> None:
    """Refuse what may not be part of a path."""
    if not _may_be_ours(name):
        raise RequestError(
            Code.BAD_REQUEST, f"found the name {name!r}, allowed: {NAME_RULE}, and not {TAG_FILE}"
        )


def _may_be_ours(name: str) -> bool:
    return is_name(name) and name != TAG_FILE


class Root:
    """The folder that holds the models' folders."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self.disk = disk
        self._digests: Digests = {}
        self._folder: int | None = None
        self._closing = ExitStack()

    def open(self) -> Sweep:
        """Make the folder where there is none, and sweep it where nobody else has it open."""
        with self.doing("open the cache folder"), ExitStack() as opening:
            self.disk.make_root(self.path)
            self._folder = opening.enter_context(self.disk.root(self.path))
            alone = self.disk.lock(self._folder, alone=True, wait=False)
            report = self._sweep() if alone else Sweep()
            # Between the two locks another process may sweep, but nothing is staged yet.
            self.disk.lock(self._folder, alone=False)
            self._closing = opening.pop_all()
        return report

    def follow(self) -> None:
        """Take the folder that is at the path now, where that is another one than is held.

        It was removed, or a disk was mounted over it.
        """
        with self.doing("look for the cache folder"):
            if self.disk.stands_at(self.folder, self.path):
                return
        folder, closing = self._folder, self._closing
        try:
            self.open()
        except StorageError:
            self._folder = folder
            raise
        closing.close()

    def close(self) -> None:
        """Let the folder go; twice does no harm."""
        self._folder = None
        self._closing.close()

    @property
    def is_open(self) -> bool:
        """Whether the folder is held."""
        return self._folder is not None

    @property
    def folder(self) -> int:
        """The folder's descriptor."""
        assert self._folder is not None, "the store is not open"
        return self._folder

    def models(self) -> list[ModelName]:
        """The models that have a folder."""
        return [ModelName(name) for name in self.disk.names(self.folder) if self._is_folder(name)]

    @contextmanager
    def look(self, model: ModelName, *, alone: bool = False) -> Iterator[ModelFolder | None]:
        """A model's folder, locked; None where there is none."""
        check_name(model)
        if not self._is_folder(model):
            yield None
            return
        with self.disk.child(self.folder, model) as folder:
            self.disk.lock(folder, alone=alone)
            yield ModelFolder(self.disk, folder, model, self._digests)

    @contextmanager
    def change(self, model: ModelName) -> Iterator[ModelFolder]:
        """A model's folder, made where there is none and locked for one change."""
        check_name(model)
        if self.disk.facts(self.folder, model) is None:
            self.disk.make_child(self.folder, model)
            self.disk.sync_folder(self.folder)
        with self.disk.child(self.folder, model) as folder:
            self.disk.lock(folder, alone=True)
            yield ModelFolder(self.disk, folder, model, self._digests)

    def replace_file(self, name: str, data: bytes) -> None:
        """Write one of the root's own files, old or new at any instant."""
        staged = _staged(name)
        with suppress(FileNotFoundError):
            self.disk.unlink(self.folder, staged)
        self.disk.write(self.folder, staged, data)
        self.disk.sync(self.folder, staged)
        self.disk.rename(self.folder, staged, name)
        self.disk.sync_folder(self.folder)

    @contextmanager
    def doing(self, what: str, needed_bytes: int = 0) -> Iterator[None]:
        """Turn the disk's refusals into a `StorageError` that says what could not be done."""
        try:
            yield
        except OSError as error:
            free = 0
            with suppress(OSError, AssertionError):
                free = self.disk.free_bytes(self.folder)
            raise refusal(error, what, needed_bytes, free) from error

    def _is_folder(self, name: str) -> bool:
        facts = self.disk.facts(self.folder, name) if _may_be_ours(name) else None
        return facts is not None and stat.S_ISDIR(facts.st_mode)

    def _sweep(self) -> Sweep:
        finished = removed = 0
        problems = []
        try:
            removed += self._remove_leftovers()
            if self.disk.facts(self.folder, TAG_FILE) is None:
                self.replace_file(TAG_FILE, TAG)
        except OSError as error:
            problems.append(f"{self.path}: {error.strerror or error}")
        for model in self.models():
            try:
                with self.look(model, alone=True) as folder:
                    counts = folder.sweep() if folder else (0, 0)
            except OSError as error:
                problems.append(f"{self.path / model}: {error.strerror or error}")
            else:
                finished, removed = finished + counts[0], removed + counts[1]
        return Sweep(finished, removed, tuple(problems))

    def _remove_leftovers(self) -> int:
        staged = {_staged(name) for name in (TAG_FILE, USAGE_FILE, FINDINGS_FILE)}
        found = staged & {*self.disk.names(self.folder)}
        for name in found:
            self.disk.unlink(self.folder, name)
        return len(found)


def _staged(name: str) -> str:
    return f".{name.lstrip('.')}.new"
