"""Every call that the store makes to the file system, one method each, below an open folder.

Nothing else in this room touches files of the cache folder, so a test can put another disk in its
place, cut the power after any call or let any call fail. Names are single components relative to
a folder's descriptor and links are never followed; only the root folder, which the administrator
chose, may be reached through one.
"""

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

READ_BYTES = 1 << 20


class NotRegularError(OSError):
    """A file of ours has been replaced by a link, a folder or a device."""


class Disk:
    """The file system as the store uses it; every failure is an `OSError`."""

    def make_root(self, path: Path) -> None:
        """Make the folder of the store where there is none."""
        path.mkdir(mode=0o750, parents=True, exist_ok=True)

    @contextmanager
    def root(self, path: Path) -> Iterator[int]:
        """The folder of the store, open."""
        yield from _opened(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def stands_at(self, folder: int, path: Path) -> bool:
        """Whether an open folder is the one that is found at a path now."""
        try:
            return os.path.samestat(os.fstat(folder), path.stat())
        except FileNotFoundError:
            return False

    @contextmanager
    def child(self, folder: int, name: str) -> Iterator[int]:
        """A folder in a folder, open."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        yield from _opened(os.open(name, flags, dir_fd=folder))

    def make_child(self, folder: int, name: str) -> None:
        """Make a folder in a folder where there is none."""
        with suppress(FileExistsError):
            os.mkdir(name, 0o750, dir_fd=folder)

    def names(self, folder: int) -> list[str]:
        """What is in a folder, sorted."""
        return sorted(os.listdir(folder))

    def facts(self, folder: int, name: str) -> os.stat_result | None:
        """What is known of a name, the link itself where it is one; None where nothing is."""
        try:
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def read(self, folder: int, name: str, bytes_max: int) -> bytes:
        """A file's content, at most one byte more than `bytes_max`."""
        with _regular(folder, name) as file, os.fdopen(file, "rb", closefd=False) as stream:
            return stream.read(bytes_max + 1)

    def digest(self, folder: int, name: str) -> str:
        """The SHA-256 of a file's content."""
        digest = hashlib.sha256()
        with _regular(folder, name) as file:
            while block := os.read(file, READ_BYTES):
                digest.update(block)
        return digest.hexdigest()

    def write(self, folder: int, name: str, data: bytes) -> None:
        """Make a new file with this content."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(name, flags, 0o640, dir_fd=folder)
        with os.fdopen(file, "wb") as stream:
            stream.write(data)

    def sync(self, folder: int, name: str) -> None:
        """Have a file's content on the disk."""
        with _regular(folder, name) as file:
            os.fsync(file)

    def sync_folder(self, folder: int) -> None:
        """Have a folder's names on the disk."""
        os.fsync(folder)

    def rename(self, folder: int, old: str, new: str) -> None:
        """Give a file or folder another name; a file of that name is replaced."""
        os.rename(old, new, src_dir_fd=folder, dst_dir_fd=folder)

    def unlink(self, folder: int, name: str) -> None:
        """Remove a file, or the link itself where it is one."""
        os.unlink(name, dir_fd=folder)

    def free_bytes(self, folder: int) -> int:
        """How much may still be written."""
        facts = os.fstatvfs(folder)
        return facts.f_bavail * facts.f_frsize

    def lock(self, folder: int, *, alone: bool, wait: bool = True) -> bool:
        """Lock an open folder until it is closed; false where another process holds it."""
        mode = (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.flock(folder, mode)
        except BlockingIOError:
            return False
        return True


def _opened(folder: int) -> Iterator[int]:
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def _regular(folder: int, name: str) -> Iterator[int]:
    # Without O_NONBLOCK a named pipe in place of a file would hold us for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(name, flags, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise NotRegularError(f"{name} is no regular file")
        yield file
    finally:
        os.close(file)
