"""For programs that talk to a running daemon; nothing beyond the standard library.

>>> with Client() as client:  # doctest: +SKIP
...     print(client.call("chat", text="hello")["text"])

`Client` waits, `AsyncClient` lives on a loop and has many requests at a time. Both give each
request's events as they come, as dictionaries of the protocol's members; `events.typed` makes
dataclasses of them. Where no path is named it is $RKLLMD_SOCKET, or the installed daemon's.
`docs/client.md` tells more, and `docs/examples/voice_loop.py` is a whole voice assistant's loop.
"""

import typing

from rkllmd.client.blocking import Client
from rkllmd.client.connecting import DEFAULT_SOCKET, default_socket
from rkllmd.client.problems import (
    BadRequest,
    ConnectionLost,
    DaemonError,
    DiskFailed,
    ModelFailed,
    NotHere,
    NotNow,
)

if typing.TYPE_CHECKING:
    from rkllmd.client.asynchronous import AsyncClient

__all__ = [
    "DEFAULT_SOCKET", "AsyncClient", "BadRequest", "Client", "ConnectionLost", "DaemonError",
    "DiskFailed", "ModelFailed", "NotHere", "NotNow", "default_socket",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """Import asyncio for those only who use it; rkllmctl has to be quick."""
    if name == "AsyncClient":
        from rkllmd.client.asynchronous import AsyncClient  # noqa: PLC0415

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
