"""Answers that are written while they come into being: SSE, NDJSON and plain lines.

A stream begins with its first piece, so a request that fails before is answered with a status of
its own. When nothing was written for KEEP_ALIVE_SECONDS the filler is written: clients and proxies
give up on silence.

Writing waits while the client does not read; that slows its own request only. After `stall_s`
without progress the connection is closed.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

from aiohttp import web

from rkllmd.errors import Code, StateError
from rkllmd.transport.http.exchange import Exchange

KEEP_ALIVE_SECONDS = 8.0
"""Home Assistant's clients and common proxies wait longer."""

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"


class Stream:
    """One streamed answer. `filler` gives what may be written at any time and says nothing."""

    def __init__(
        self, exchange: Exchange, content_type: str, filler: Callable[[], bytes] | None = None
    ) -> None:
        self._exchange = exchange
        self._response = web.StreamResponse(
            headers={
                **exchange.headers,
                "Content-Type": f"{content_type}; charset=utf-8",
                "Cache-Control": "no-cache",
                "X-Accel-Buffering": "no",
            }
        )
        self._filler = filler
        self._lock = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._quiet_since = self._loop.time()
        self._filling: asyncio.Task[None] | None = None
        self.begun = False
        """Whether the status is on its way, and cannot be changed any more."""

    async def __aenter__(self) -> Self:
        if self._filler is not None:
            self._filling = self._loop.create_task(self._fill(self._filler), name="keep alive")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._filling is not None:
            self._filling.cancel()
            await asyncio.wait({self._filling})

    async def send(self, data: bytes) -> None:
        """Write; waits while the client does not read. One that has left is told nothing."""
        self.begun = True
        async with self._lock:
            self._quiet_since = self._loop.time()
            seconds = self._exchange.work.settings.stall_s
            try:
                async with asyncio.timeout(seconds):
                    if not self._response.prepared:
                        await self._response.prepare(self._exchange.http)
                    await self._response.write(data)
            except TimeoutError:
                self._exchange.peer.transport.abort()
                raise StateError(
                    Code.SLOW_CLIENT, f"nothing was read for {seconds:g} s", stall_s=seconds
                ) from None
            except ConnectionError:
                self._exchange.peer.lose()  # It ends as cancelled, and is remembered.

    def response(self) -> web.StreamResponse:
        """What the endpoint returns; aiohttp writes its end."""
        return self._response

    async def _fill(self, filler: Callable[[], bytes]) -> None:
        while True:
            pause = self._quiet_since + KEEP_ALIVE_SECONDS - self._loop.time()
            if pause > 0:
                await asyncio.sleep(pause)
                continue
            try:
                await self.send(filler())
            except StateError:
                return  # The client does not read; what it waits for is told so.
