"""A terminal, to be typed at and looked at."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

from tests.daemon.household import PATIENCE_SECONDS


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, command, environment, columns=100):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave,
            env={"TERM": "xterm-256color", **environment},
            preexec_fn=lambda: _own(slave),  # noqa: PLW1509  # there is one thread
        )  # fmt: skip
        os.close(slave)
        self.seen = ""

    def type(self, text):
        os.write(self.master, text.encode())

    def until(self, word):
        """Read until something is on the screen; what came since the last time."""
        end, start = time.monotonic() + PATIENCE_SECONDS, len(self.seen)
        while word not in self.seen[start:]:
            ready, _, _ = select.select([self.master], [], [], end - time.monotonic())
            assert ready, f"{word!r} did not come:\n{self.seen}"
            self.seen += os.read(self.master, 65536).decode(errors="replace")
        return self.seen[start:]

    def until_so(self, condition):
        """Wait until something is so that is not seen on the screen."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < end, self.seen
            time.sleep(0.02)

    def end(self):
        """The exit status, when it has ended; what was left on the screen is read."""
        try:
            while data := os.read(self.master, 65536):
                self.seen += data.decode(errors="replace")
        except OSError:
            pass  # nobody has the terminal any more
        return self.process.wait(PATIENCE_SECONDS)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def _own(slave):
    """Be the terminal's only session, so that what is typed becomes signals."""
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
