"""A server on stream sockets: who is connected, and how it leaves.

Leaving: no new connections; requests are refused with `shutting_down`; those that are open go on
for `drain_s`, are then cancelled, which ends them with `shutting_down`, and have `grace_s` to end
before their tasks are cancelled; what is still in the outboxes is sent for LINGER_SECONDS.
"""

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, Self

from rkllmd.operations.call import Handler
from rkllmd.transport.hangup import HangupWatch
from rkllmd.transport.listen import BACKLOG

GRACE_SECONDS = 15.0
LINGER_SECONDS = 2.0
"""How long a client that is not heard any more may take to read why."""


class Connected(Protocol):
    """One connected client, as the server that leaves sees it."""

    @property
    def tasks(self) -> "set[asyncio.Task[None]]":
        """What goes on for it."""

    def cut_calls(self) -> None:
        """Ask every operation to end because the service leaves."""

    def cancel_tasks(self) -> None:
        """End every operation."""

    def finish(self) -> None:
        """Send what is left and close; nothing more is read or answered."""

    def abort(self) -> None:
        """Close at once."""


class Server(ABC):
    """Accepts clients on listening sockets until `close`."""

    def __init__(
        self, handler: Handler, on_bug: Callable[[BaseException], None], grace_s: float
    ) -> None:
        """`on_bug` is told of exceptions that no handler should have let out."""
        self.handler = handler
        self.on_bug = on_bug
        self.grace_s = grace_s
        self.is_draining = False
        self.hangups: HangupWatch | None = None
        self._accepting: list[asyncio.Server] = []
        self._clients: set[Connected] = set()
        self._nobody = asyncio.Event()
        self._nobody.set()

    @abstractmethod
    def make_client(self) -> asyncio.Protocol:
        """What speaks with a client that connects."""

    async def __aenter__(self) -> Self:
        self.hangups = HangupWatch()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def listen(self, listening: socket.socket) -> None:
        """Accept clients of a listening socket, which is owned and closed from now on."""
        loop = asyncio.get_running_loop()
        # Not create_unix_server: from Python 3.13 on it removes the socket's file.
        server = await loop.create_server(self.make_client, sock=listening, backlog=BACKLOG)
        self._accepting.append(server)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    async def close(self, drain_s: float = 0.0) -> None:
        """Leave. A second call, while the first one waits, shortens its wait to the second's."""
        self.is_draining = True
        while self._accepting:
            self._accepting.pop().close()
        await self._wait_for_calls(drain_s)
        for client in self._clients:
            client.cut_calls()
        await self._wait_for_calls(self.grace_s)
        for client in self._clients:
            client.cancel_tasks()
        await self._wait_for_calls(self.grace_s)
        for client in list(self._clients):
            client.finish()
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                await self._nobody.wait()
        except TimeoutError:
            for client in self._clients:
                client.abort()
            await self._nobody.wait()
        if self.hangups:
            self.hangups.close()

    async def _wait_for_calls(self, seconds: float) -> None:
        tasks = [task for client in self._clients for task in client.tasks]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    def on_connected(self, client: Connected) -> None:
        """A connection begins."""
        self._clients.add(client)
        self._nobody.clear()

    def on_gone(self, client: Connected) -> None:
        """A connection and all its tasks are over."""
        self._clients.discard(client)
        if not self._clients:
            self._nobody.set()
