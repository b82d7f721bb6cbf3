"""One worker process as its parent sees it: started, listened to, ended and reaped.

Starting it is one synchronous step, so no cancellation can come between the process and its owner.
It gets a process group of its own (a terminal's Ctrl-C is not for it), the socket as its only
further descriptor, and a pipe as stdout and stderr. Its exit is watched through a pidfd. What it
said last may come after that, through a `tee` that outlives it (`native/listening.py`), so its end
is told once the pipe has ended too.
"""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import rkllmd
from rkllmd.ids import ModelName
from rkllmd.worker.ends import EndKind, WorkerEnd
from rkllmd.worker.output import OutputLines

LEAVE_SECONDS = 2.0
"""How long a worker may take to leave by itself once its socket has ended."""
LAST_WORDS_SECONDS = 5.0
"""How long a dead worker's pipe may stay open, should something that it started hold it."""
OUTPUT_BYTES = 65_536

journal = logging.getLogger("rkllmd.worker")


def worker_command(engine: str, threads: int | None) -> tuple[str, ...]:
    """The command line of a worker; `Process` adds the socket's number."""
    command = (sys.executable, "-P", "-u", "-m", "rkllmd.worker", "--engine", engine)
    return (*command, "--threads", str(threads)) if threads else command


class Process:
    """A running worker; `ended` is done when it is reaped."""

    def __init__(self, model: ModelName, command: Sequence[str], channel: socket.socket) -> None:
        """Start it, with a socket that becomes its `--fd`."""
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[WorkerEnd] = self._loop.create_future()
        self._model = model
        self._killed: tuple[EndKind, str] | None = None
        self._status: int | None = None
        self._lines = OutputLines()
        self._last_words: asyncio.TimerHandle | None = None
        self._output: int | None
        self._output, output = os.pipe2(os.O_CLOEXEC)
        try:
            os.set_blocking(self._output, False)
            self._popen = subprocess.Popen(  # noqa: S603 - our own command
                [*command, "--fd", str(channel.fileno())],
                pass_fds=[channel.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(os.environ),
                process_group=0,
            )
            self._pidfd = os.pidfd_open(self._popen.pid)
        except BaseException:
            os.close(self._output)
            raise
        finally:
            os.close(output)
        self._loop.add_reader(self._output, self._on_output)
        self._loop.add_reader(self._pidfd, self._on_exit)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def kill(self, kind: EndKind, why: str) -> None:
        """End it now, for a reason that its end will have."""
        if self._status is None and self._killed is None:
            self._killed = kind, why
            self._popen.kill()

    async def leave(self) -> WorkerEnd:
        """See it off: its socket has ended, so it leaves, or is killed."""
        try:
            await asyncio.wait({self.ended}, timeout=LEAVE_SECONDS)
        finally:
            self.kill(EndKind.SILENCE, "it did not leave when its socket ended")
            while not self.ended.done():
                await asyncio.wait({self.ended})
        return self.ended.result()

    def _on_output(self) -> None:
        assert self._output is not None, "it is read only while it is open"
        try:
            data = os.read(self._output, OUTPUT_BYTES)
        except BlockingIOError:
            return
        for line in self._lines.feed(data):
            self._log(line)
        if not data:
            self._hang_up()

    def _on_exit(self) -> None:
        self._status = self._popen.wait()
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._last_words = self._loop.call_later(LAST_WORDS_SECONDS, self._hang_up)
        self._tell_end()

    def _hang_up(self) -> None:
        """Nothing more of its output is to come."""
        if self._output is not None:
            self._loop.remove_reader(self._output)
            os.close(self._output)
            self._output = None
        self._tell_end()

    def _tell_end(self) -> None:
        if self._status is None or self._output is not None:
            return
        assert self._last_words is not None, "its exit began the wait for its last words"
        self._last_words.cancel()
        for line in self._lines.finish():
            self._log(line)
        self.ended.set_result(self._end(self._status))

    def _end(self, status: int) -> WorkerEnd:
        last_lines = tuple(self._lines.last)
        if self._killed and status == -signal.SIGKILL:
            kind, why = self._killed
            return WorkerEnd(kind, signal.SIGKILL, last_lines, why)
        if status < 0:
            return WorkerEnd(EndKind.SIGNAL, -status, last_lines)
        return WorkerEnd(EndKind.STATUS if status else EndKind.CLEAN, status, last_lines)

    def _log(self, line: str) -> None:
        journal.info("%s: %s", self._model, line)


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Our environment; a checkout's packages are found there too, whatever the folder."""
    root = Path(rkllmd.__file__).parents[1]
    if root.name in {"site-packages", "dist-packages"}:
        return dict(ours)
    paths = [str(root), *filter(None, [ours.get("PYTHONPATH")])]
    return {**ours, "PYTHONPATH": os.pathsep.join(paths)}
