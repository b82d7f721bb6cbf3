"""From the disk's refusals to a `StorageError` with a sentence and numbers."""

import errno

from rkllmd.errors import Code, StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS}
_DENIED = {errno.EACCES, errno.EPERM}
_LINKS = {errno.ELOOP, errno.ENOTDIR}


def refusal(error: OSError, doing: str, needed_bytes: int, free_bytes: int) -> StorageError:
    """The error that says what could not be done and why."""
    head = f"could not {doing}"
    if error.errno in _FULL:
        return StorageError(
            Code.STORAGE_FULL,
            f"{head}: the disk is full; {needed_bytes} bytes are needed, {free_bytes} are free",
            needed_bytes=needed_bytes,
            free_bytes=free_bytes,
        )
    if error.errno in _READ_ONLY:
        return StorageError(Code.PERMISSION_DENIED, f"{head}: the file system is read-only")
    if error.errno in _DENIED:
        return StorageError(Code.PERMISSION_DENIED, f"{head}: permission denied")
    if error.errno in _LINKS:
        return StorageError(
            Code.PERMISSION_DENIED,
            f"{head}: a link or file is where a folder or file of ours belongs",
        )
    return StorageError(Code.INTERNAL, f"{head}: {error.strerror or error}")
