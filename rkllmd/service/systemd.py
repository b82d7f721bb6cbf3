"""Speaks to systemd: sends what it wants to know, takes the sockets that it hands over.

Without systemd everything here does nothing. What is handed over in the environment is taken out of
it, so that no child takes it for its own.
"""

import logging
import os
import time
from collections.abc import MutableMapping

import sdnotify

FIRST_DESCRIPTOR = 3

_log = logging.getLogger(__name__)


class Notifier:
    """Sends to the socket that NOTIFY_SOCKET names, without ever waiting for systemd.

    To be made before the loop runs: it connects.
    """

    def __init__(self) -> None:
        self._systemd: sdnotify.SystemdNotifier | None = None
        if "NOTIFY_SOCKET" in os.environ:
            systemd = sdnotify.SystemdNotifier()
            if systemd.socket is None:
                _log.warning("systemd cannot be told anything: NOTIFY_SOCKET leads nowhere")
                return
            systemd.socket.setblocking(False)
            systemd.debug = True  # which means: raise what goes wrong
            self._systemd = systemd

    def ready(self, status: str) -> None:
        """The service is up, or up again after a reload."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={_line(text)}")

    def reloading(self) -> None:
        """A reload begins; `ready` ends it. systemd compares the time with that of its signal."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The service is on its way out."""
        self._send("STOPPING=1")

    def extend_timeout(self, seconds: float) -> None:
        """Starting, reloading or stopping takes longer; wait at least this long from now."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1_000_000)}")

    def watchdog(self) -> None:
        """The service is alive."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Send nothing any more."""
        if self._systemd is not None:
            self._systemd.socket.close()
            self._systemd = None

    def _send(self, text: str) -> None:
        if self._systemd is None:
            return
        try:
            # sdnotify encodes as Latin-1, systemd reads UTF-8.
            self._systemd.notify(text.encode(errors="replace").decode("latin-1"))
        except OSError as error:
            _log.warning("systemd was not told %s: %s", text.partition("\n")[0], error)


def inherited_sockets(environ: MutableMapping[str, str], pid: int) -> dict[str, list[int]]:
    """The descriptors of socket activation by FileDescriptorName=, which several may share."""
    listen_pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    environ.pop("LISTEN_PIDFDID", None)
    sockets: dict[str, list[int]] = {}
    if listen_pid != str(pid) or not count.isdecimal():
        return sockets
    for index in range(int(count)):
        descriptor = FIRST_DESCRIPTOR + index
        try:
            os.set_inheritable(descriptor, False)
        except OSError as error:
            _log.warning("%s sockets were announced, %d came: %s", count, index, error.strerror)
            break
        name = names[index] if index < len(names) else ""
        sockets.setdefault(name or "unknown", []).append(descriptor)
    return sockets


def watchdog_interval(environ: MutableMapping[str, str], pid: int) -> float | None:
    """How many seconds apart to say that we live: half of what systemd waits; None is never."""
    watchdog_pid = environ.pop("WATCHDOG_PID", str(pid))
    patience = environ.pop("WATCHDOG_USEC", "")
    if watchdog_pid != str(pid) or not patience.isdecimal() or int(patience) == 0:
        return None
    return int(patience) / 2 / 1_000_000


def _line(text: str) -> str:
    return " ".join(text.split())
