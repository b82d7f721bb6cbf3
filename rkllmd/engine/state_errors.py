"""What is said of a state file that cannot be written, or not be used."""

import errno
from pathlib import Path

from rkllmd.errors import Code, EngineError, RkllmdError, StorageError

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def unwritten(path: Path, problem: OSError, size_bytes: int) -> RkllmdError:
    """The error for a disk that refused."""
    sentence = f"The state cannot be written to {path}: {problem.strerror}."
    if problem.errno in NO_SPACE:
        return StorageError(
            Code.STORAGE_FULL,
            f"{sentence} {size_bytes} bytes are needed.",
            needed_bytes=size_bytes,
        )
    return EngineError(Code.ENGINE_ERROR, sentence)


def refused(sentence: str) -> EngineError:
    """The error for a file that does not fit."""
    return EngineError(Code.ENGINE_ERROR, f"The state file cannot be used: {sentence}.")
