"""Tells model files apart by size, modification time and a hash over samples of their content.

Files up to `WHOLE_BYTES_MAX` are read as a whole. Of larger ones the first and last megabyte (the
formats' headers and metadata are there) and `SAMPLES` blocks spread evenly between are read: a
model that was trained, merged or quantised anew differs in nearly every block. A few bytes poked
into the middle of a large file can be missed; the changed modification time then has its caches
proved again.

Hashes are remembered by device, inode, size and both times of change, so looking again costs one
stat, also under a new name.
"""

import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path

WHOLE_BYTES_MAX = 64 << 20
END_BYTES = 1 << 20
SAMPLES = 128
SAMPLE_BYTES = 64 << 10

_Place = tuple[int, int]
_State = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What makes a file this file, wherever it is."""

    size_bytes: int
    mtime_ns: int
    digest: str


UNREADABLE = FileIdentity(0, 0, "")
"""Stands for the identity of a file that cannot be read."""


class Identities:
    """Remembers the hashes of the files that were seen. May be used from several threads."""

    def __init__(self) -> None:
        self._known: dict[_Place, tuple[_State, str]] = {}
        self._lock = threading.Lock()

    def of(self, path: Path) -> FileIdentity:
        """The identity of a regular file; raises OSError."""
        found = path.stat()
        with self._lock:
            state, digest = self._known.get(_place(found), (None, ""))
        if state == _state(found):
            return FileIdentity(found.st_size, found.st_mtime_ns, digest)
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            before = os.fstat(descriptor)
            digest = sampled_hash(descriptor, before.st_size)
            after = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        # A file that is being written has a hash of its moment; remembering it would be wrong.
        if _state(before) == _state(after):
            with self._lock:
                self._known[_place(after)] = (_state(after), digest)
        return FileIdentity(before.st_size, before.st_mtime_ns, digest)


def sampled_hash(descriptor: int, size_bytes: int) -> str:
    """The hash over a file's size and samples."""
    digest = hashlib.sha256(f"{size_bytes}\n".encode())
    for offset, length in samples(size_bytes):
        digest.update(os.pread(descriptor, length, offset))
    return digest.hexdigest()


def samples(size_bytes: int) -> list[tuple[int, int]]:
    """Where the blocks begin and how long they are, from the head to the tail."""
    if size_bytes <= WHOLE_BYTES_MAX:
        starts = range(0, size_bytes, END_BYTES)
        return [(start, min(END_BYTES, size_bytes - start)) for start in starts]
    step = (size_bytes - 2 * END_BYTES) // SAMPLES
    between = [(END_BYTES + number * step, SAMPLE_BYTES) for number in range(SAMPLES)]
    return [(0, END_BYTES), *between, (size_bytes - END_BYTES, END_BYTES)]


def _place(found: os.stat_result) -> _Place:
    return (found.st_dev, found.st_ino)


def _state(found: os.stat_result) -> _State:
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
