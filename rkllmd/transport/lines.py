"""The Unix socket with JSON lines."""

from collections.abc import Callable

from rkllmd.config.settings import Socket
from rkllmd.operations.call import Handler
from rkllmd.transport.client import Client
from rkllmd.transport.server import GRACE_SECONDS, Server


class LinesServer(Server[Client]):
    """Serves the protocol on listening sockets until `close`."""

    def __init__(
        self,
        settings: Socket,
        handler: Handler,
        *,
        on_bug: Callable[[BaseException], None] = lambda _: None,
        grace_s: float = GRACE_SECONDS,
    ) -> None:
        """`on_bug` is told of exceptions that no handler should have let out."""
        super().__init__(handler, grace_s)
        self.settings = settings
        self.on_bug = on_bug

    def make_client(self) -> Client:
        """What speaks with a client that connects."""
        return Client(self)
