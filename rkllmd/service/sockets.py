"""The sockets that the daemon listens on: handed over by systemd by name, or made here.

What systemd hands over under a face's name replaces all that the configuration says of that face's
sockets. A port that somebody else has does not keep the daemon from serving: it is noted.
"""

import logging
import ssl
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from rkllmd.config.settings import Config, Http, Wyoming
from rkllmd.transport.http.access import Keys, check_bind, read_keys
from rkllmd.transport.listen import Listener, ListenError, adopt, open_tcp, open_unix
from rkllmd.transport.wyoming import access as wyoming_access

LINES = "rkllmd"
HTTP = "http"
WYOMING = "wyoming"

journal = logging.getLogger("rkllmd")


@dataclass(slots=True)
class Sockets:
    """All of them, closed together."""

    lines: list[Listener] = field(default_factory=list)
    http: list[Listener] = field(default_factory=list)
    wyoming: list[Listener] = field(default_factory=list)
    keys: Keys = field(default_factory=Keys)
    """What HTTP's TCP clients have to show."""
    networks: tuple[wyoming_access.Network, ...] = ()
    """Where Wyoming's TCP clients may come from."""
    tls: ssl.SSLContext | None = None
    """For HTTP over TCP."""
    notes: list[str] = field(default_factory=list)
    """What an administrator should know."""

    def close(self) -> None:
        """Put them away; a second time nothing happens."""
        for listener in (*self.lines, *self.http, *self.wyoming):
            listener.close()


def open_sockets(config: Config, inherited: Mapping[str, Sequence[int]]) -> Sockets:
    """Listen, or raise `ListenError`."""
    with ExitStack() as stack:
        sockets = Sockets()
        stack.callback(sockets.close)
        for name in inherited.keys() - {LINES, HTTP, WYOMING}:
            journal.warning("systemd handed over a socket %r that nobody wants", name)
        sockets.lines += [adopt(one) for one in inherited.get(LINES, ())]
        if not sockets.lines:
            settings = config.socket
            sockets.lines.append(open_unix(Path(settings.path), settings.mode_bits, settings.group))
        sockets.keys = read_keys(config.http.keys_file)
        sockets.tls = _tls(config.http)
        sockets.http += [adopt(one) for one in inherited.get(HTTP, ())]
        if not sockets.http:
            sockets.http += _open_face(config.http, "HTTP", sockets.notes)
        for listener in sockets.http:
            check_bind(listener.socket, sockets.keys)
        sockets.networks = wyoming_access.networks_of(config.wyoming.networks)
        sockets.wyoming += [adopt(one) for one in inherited.get(WYOMING, ())]
        if not sockets.wyoming:
            sockets.wyoming += _open_face(config.wyoming, "Wyoming", sockets.notes)
        for listener in sockets.wyoming:
            wyoming_access.check_bind(listener.socket, sockets.networks)
        stack.pop_all()
        return sockets


def _open_face(settings: Http | Wyoming, name: str, notes: list[str]) -> list[Listener]:
    """The sockets of a face that has a Unix socket and TCP."""
    opened = []
    if settings.path:
        opened.append(open_unix(Path(settings.path), settings.mode_bits, settings.group))
    if settings.port:
        try:
            opened.append(open_tcp(settings.host, settings.port))
        except ListenError as error:
            journal.warning("%s over TCP is not served: %s", name, error)
            notes.append(f"{name} over TCP is not served: {error}")
    return opened


def _tls(settings: Http) -> ssl.SSLContext | None:
    if not settings.certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.certificate, settings.certificate_key or None)
    except OSError as error:
        raise ListenError(f"{settings.certificate}: cannot be used for TLS: {error}") from error
    return context
