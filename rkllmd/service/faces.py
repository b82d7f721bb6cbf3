"""The ways in: every face of the daemon on its sockets, over the same handler.

aiohttp takes long to load, so the others are served first.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Self

from rkllmd.config.settings import Config
from rkllmd.operations.call import Handler
from rkllmd.service.sockets import Sockets
from rkllmd.transport.lines import LinesServer
from rkllmd.transport.wyoming.server import WyomingServer

if TYPE_CHECKING:
    from rkllmd.transport.http.server import HttpServer


class Faces:
    """All servers, entered and left together."""

    def __init__(
        self,
        config: Config,
        sockets: Sockets,
        handler: Handler,
        read_metrics: Callable[[], Awaitable[str]],
        on_http: Callable[[str, int], None],
    ) -> None:
        """`on_http` is told of each HTTP answer: its endpoint and its status."""
        self._config = config
        self._sockets = sockets
        self._handler = handler
        self._read_metrics = read_metrics
        self._on_http = on_http
        self._lines = LinesServer(config.socket, handler)
        self._wyoming = WyomingServer(config.wyoming, handler, sockets.networks)
        self._http: HttpServer | None = None

    async def __aenter__(self) -> Self:
        await self._lines.__aenter__()
        for listener in self._sockets.lines:
            await self._lines.listen(listener.socket)
        await self._wyoming.__aenter__()
        for listener in self._sockets.wyoming:
            await self._wyoming.listen(listener.socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def serve_http(self) -> None:
        """Serve HTTP too."""
        if not self._sockets.http:
            return
        http = await asyncio.to_thread(self._make_http)
        self._http = await http.__aenter__()
        for listener in self._sockets.http:
            is_tcp = listener.socket.family != socket.AF_UNIX
            await http.listen(listener.socket, self._sockets.tls if is_tcp else None)

    async def close(self, drain_s: float = 0.0) -> None:
        """Leave. A second call, while the first one waits, shortens its wait to the second's."""
        closing = [self._lines.close(drain_s), self._wyoming.close(drain_s)]
        if self._http is not None:
            closing.append(self._http.close(drain_s))
        await asyncio.gather(*closing)

    def _make_http(self) -> "HttpServer":
        from rkllmd.transport.http.server import HttpServer  # noqa: PLC0415
        from rkllmd.transport.http.table import routes  # noqa: PLC0415

        return HttpServer(
            self._config.http,
            self._handler,
            routes(self._read_metrics),
            self._sockets.keys,
            on_answered=self._on_http,
        )
