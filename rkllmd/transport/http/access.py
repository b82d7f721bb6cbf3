"""Who may ask: keys for TCP, and which web pages.

On the Unix socket the file's permissions decide. On TCP a bearer key is asked for when keys are
configured, and an address that is not loopback is refused at the start without them.

A browser sends what any web page tells it to, also to 127.0.0.1. Such requests carry `Origin`, so
one that is not in `http.origins` is refused before anything is done.
"""

import hashlib
import hmac
import ipaddress
import os
import socket
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rkllmd.errors import Code, RequestError
from rkllmd.transport.listen import ListenError

if TYPE_CHECKING:
    from aiohttp import web  # which takes long to load, and sockets are wanted at once

OTHERS_CAN = stat.S_IWGRP | stat.S_IRWXO
KEY_CHARACTERS_MIN = 16
KEYS_BYTES_MAX = 65_536


class Keys:
    """The bearer keys of a file, one on each line; empty lines and those with `#` are skipped."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._digests = [_digest(key) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def knows(self, key: str) -> bool:
        """Whether a key is one of them, in a time that does not tell how much of it is right."""
        found, digest = False, _digest(key)
        for known in self._digests:
            found |= hmac.compare_digest(known, digest)
        return found


def read_keys(path: str) -> Keys:
    """The keys of a file that only its owner and group can read; none without a path."""
    if not path:
        return Keys()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            lines = file.read(KEYS_BYTES_MAX).decode().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ListenError(f"{path}: the keys cannot be read: {error}") from error
    if stat.S_IMODE(found.st_mode) & OTHERS_CAN:
        raise ListenError(
            f"{path}: others can read the keys or its group can change them (mode "
            f"{stat.S_IMODE(found.st_mode):04o}); `chmod 640` it"
        )
    keys = [key for line in lines if (key := line.strip()) and not key.startswith("#")]
    if not keys:
        raise ListenError(f"{path}: there is no key in it")
    if any(len(key) < KEY_CHARACTERS_MIN for key in keys):
        raise ListenError(f"{path}: a key has less than {KEY_CHARACTERS_MIN} characters")
    return Keys(keys)


def check_bind(listening: socket.socket, keys: Keys) -> None:
    """Refuse an address that strangers can reach when there are no keys."""
    if listening.family == socket.AF_UNIX or keys:
        return
    address = listening.getsockname()[0]
    if not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        raise ListenError(
            f"{address} can be reached from outside, and no keys are configured; "
            "set http.keys_file, or http.host to 127.0.0.1"
        )


def check_key(request: "web.BaseRequest", keys: Keys) -> None:
    """Refuse who shows no key, or a wrong one."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not keys.knows(key.strip()):
        raise RequestError(
            Code.PERMISSION_DENIED, "a key is needed: `Authorization: Bearer KEY`",
            challenge="Bearer",
        )  # fmt: skip


def check_origin(request: "web.BaseRequest", origins: Sequence[str]) -> dict[str, str]:
    """Refuse a web page that is not listed; the headers that let a listed one read the answer."""
    origin = request.headers.get("Origin")
    if origin is None:
        return {}
    if origin not in origins and "*" not in origins:
        raise RequestError(
            Code.PERMISSION_DENIED, f"the web page {origin[:200]!r} is not in http.origins"
        )
    return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}


def preflight(request: "web.BaseRequest") -> dict[str, str]:
    """What a browser is told before it sends what a listed page asks for, with any headers."""
    return {
        "Access-Control-Allow-Methods": "GET, POST, DELETE",
        "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers", ""),
        "Access-Control-Max-Age": "600",
    }


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="replace")).digest()
