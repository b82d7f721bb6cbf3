"""Listening sockets: made here, or adopted from systemd.

Making a Unix socket, under a lock that is held as long as the socket lives (`PATH.lock`, which
stays behind, since removing a lock file is a race of its own):

    the lock is held by another     an error that names the holder
    PATH is not there               it is made
    PATH is a socket, none listens  it is stale, and replaced
    PATH is a socket, one listens   an error that names the owner
    PATH is anything else           an error; it is left alone

Of several daemons that start at once exactly one gets the lock, and so the socket. The file
appears with no permissions for others and gets mode and group before anyone can connect. Closing
removes the file only while it is still the one that was made here; an adopted socket's file is
systemd's.
"""

import errno
import fcntl
import grp
import os
import socket
import stat
import struct
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

PATH_BYTES_MAX = 107
BACKLOG = 1024
PEER = struct.Struct("3i")


class ListenError(Exception):
    """The socket cannot be had; the sentence says why and what to do."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end of a Unix socket when it connected, or began to listen."""

    pid: int
    uid: int
    gid: int


def peer_of(connected: socket.socket) -> Peer:
    """Who is at the other end."""
    return Peer(
        *PEER.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
    )


class Listener:
    """A listening socket and what has to be put away with it."""

    def __init__(self, listening: socket.socket, put_away: ExitStack) -> None:
        self.socket = listening
        self._put_away = put_away

    def close(self) -> None:
        """Put it away; a second time nothing happens."""
        self._put_away.close()


def adopt(descriptor: int) -> Listener:
    """Take over a listening stream socket that systemd made."""
    try:
        taken = socket.socket(fileno=descriptor)
    except OSError as error:
        os.close(descriptor)
        raise ListenError(f"descriptor {descriptor} is no listening stream socket") from error
    with ExitStack() as stack:
        stack.callback(taken.close)
        if taken.type != socket.SOCK_STREAM or not taken.getsockopt(
            socket.SOL_SOCKET, socket.SO_ACCEPTCONN
        ):
            raise ListenError(f"descriptor {descriptor} is no listening stream socket")
        os.set_inheritable(descriptor, False)
        return Listener(taken, stack.pop_all())


def open_unix(path: Path, mode: int = 0o660, group: str = "") -> Listener:
    """Make a Unix socket and listen on it. `group` empty leaves the group as it is."""
    size = len(os.fsencode(path))
    if size > PATH_BYTES_MAX:
        raise ListenError(f"{path} has {size} bytes; Unix sockets allow {PATH_BYTES_MAX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            _lock(path, stack)
            _remove_stale(path)
            listening = stack.enter_context(closing(socket.socket(socket.AF_UNIX)))
            os.fchmod(listening.fileno(), 0)  # On Linux the file gets this mode from bind.
            listening.bind(os.fspath(path))
            made = path.lstat()
            stack.callback(_remove_own, path, made)
            if group:
                os.chown(path, -1, _group_number(group))
            path.chmod(mode)
            listening.listen(BACKLOG)
            return Listener(listening, stack.pop_all())
    except OSError as error:
        where = f" ({error.filename})" if error.filename not in {None, str(path)} else ""
        raise ListenError(f"{path} cannot be made: {error.strerror or error}{where}") from error


def open_tcp(host: str, port: int) -> Listener:
    """Listen on an address of this machine."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        with ExitStack() as stack:
            listening = stack.enter_context(closing(socket.socket(family, kind, protocol)))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
            return Listener(listening, stack.pop_all())
    except OSError as error:
        raise ListenError(f"{host}:{port} cannot be had: {error.strerror or error}") from error


def _lock(path: Path, stack: ExitStack) -> None:
    name = path.with_name(path.name + ".lock")
    lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    stack.callback(os.close, lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip()
        raise ListenError(f"{path} belongs to {_process(holder)}; stop it first") from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _remove_stale(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ListenError(f"{path} is there and is no socket; it was left alone")
    owner = _owner(path)
    if owner:
        raise ListenError(f"{path} belongs to {owner}; stop it first")
    path.unlink(missing_ok=True)


def _owner(path: Path) -> str | None:
    """Who listens there, in words; None when nobody does."""
    with closing(socket.socket(socket.AF_UNIX)) as probe:
        probe.setblocking(False)
        result = probe.connect_ex(os.fspath(path))
        match result:
            case 0:
                return _process(str(peer_of(probe).pid))
            case errno.ECONNREFUSED | errno.ENOENT:
                return None
            case _:
                return f"a process that cannot be asked ({os.strerror(result)})"


def _process(pid: str) -> str:
    try:
        name = Path(f"/proc/{int(pid)}/comm").read_text().strip()
    except (ValueError, OSError):
        return f"process {pid}" if pid.isdigit() else "another process that is just starting"
    return f"process {pid} ({name})"


def _group_number(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ListenError(f"no group is called {group!r}") from None


def _remove_own(path: Path, made: os.stat_result) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if (found.st_dev, found.st_ino) == (made.st_dev, made.st_ino):
        path.unlink(missing_ok=True)
