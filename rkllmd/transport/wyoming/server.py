"""Serves Wyoming on listening sockets."""

from collections.abc import Callable, Sequence

from rkllmd.config.settings import Wyoming
from rkllmd.operations.call import Handler
from rkllmd.transport.server import GRACE_SECONDS, Server
from rkllmd.transport.visit import Bounds
from rkllmd.transport.wyoming.access import Network
from rkllmd.transport.wyoming.visitor import Visitor

REQUESTS_MAX = 32
OUTBOX_BYTES_MAX = 1_048_576


class WyomingServer(Server):
    """Serves Wyoming until `close`."""

    def __init__(
        self,
        settings: Wyoming,
        handler: Handler,
        networks: Sequence[Network] = (),
        *,
        on_bug: Callable[[BaseException], None] = lambda _: None,
        grace_s: float = GRACE_SECONDS,
    ) -> None:
        """`networks` may come over TCP, besides this machine."""
        super().__init__(handler, on_bug, grace_s)
        self._networks = networks
        self._bounds = Bounds(
            settings.connections_max, REQUESTS_MAX, OUTBOX_BYTES_MAX, settings.stall_s
        )

    def make_client(self) -> Visitor:
        """What speaks with a client that connects."""
        return Visitor(self, self._bounds, self._networks)
