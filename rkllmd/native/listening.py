"""Reads along what the library prints, without taking it from whoever reads the process's output.

The library tells some things only in its log: a model's context limit, why it failed, and before
1.2.1 what a run prefilled. While a `Listening` is open, descriptors 1 and 2 lead to a `tee`
process, which passes everything on at once and keeps a copy in memory for us. A thread of ours
would do as well, but for one case: when the library crashes, `tee` outlives us and passes on the
last lines, which say why.

The C library may keep lines back when its output is no terminal, so they are flushed before they
are read. (The worker has it keep nothing back, so that a crash loses no line.)
"""

import contextlib
import ctypes
import os
import subprocess
from types import TracebackType

_libc = ctypes.CDLL(None)


class Listening(contextlib.AbstractContextManager[None]):
    """While it is open, what is printed is copied; afterwards `text` has it."""

    text = ""

    def __enter__(self) -> None:
        _libc.fflush(None)
        self._copy = os.memfd_create("library-output")
        self._saved = (os.dup(1), os.dup(2))
        self._tee = subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
            ["tee", "-a", f"/dev/fd/{self._copy}"],  # noqa: S607 - wherever coreutils are
            stdin=subprocess.PIPE,
            stdout=self._saved[0],
            pass_fds=(self._copy,),
        )
        assert self._tee.stdin is not None
        for descriptor in (1, 2):
            os.dup2(self._tee.stdin.fileno(), descriptor)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _libc.fflush(None)
        for descriptor, saved in zip((1, 2), self._saved, strict=True):
            os.dup2(saved, descriptor)
            os.close(saved)
        self._tee.communicate()
        with open(self._copy, "rb") as file:  # noqa: PTH123 - a descriptor has no path
            file.seek(0)
            self.text = file.read().decode(errors="replace")
