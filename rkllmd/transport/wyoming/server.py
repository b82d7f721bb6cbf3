"""Serves Wyoming on listening sockets."""

from collections.abc import Sequence

from rkllmd.config.settings import Wyoming
from rkllmd.operations.call import Handler
from rkllmd.transport.server import GRACE_SECONDS, Server
from rkllmd.transport.wyoming.access import Network
from rkllmd.transport.wyoming.visitor import Visitor


class WyomingServer(Server[Visitor]):
    """Serves Wyoming until `close`."""

    def __init__(
        self,
        settings: Wyoming,
        handler: Handler,
        networks: Sequence[Network] = (),
        *,
        grace_s: float = GRACE_SECONDS,
    ) -> None:
        """`networks` may come over TCP, besides this machine."""
        super().__init__(handler, grace_s)
        self.settings = settings
        self.networks = networks

    def make_client(self) -> Visitor:
        """What speaks with a client that connects."""
        return Visitor(self)
