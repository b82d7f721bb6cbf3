"""The HTTP face on a real socket, over a handler that plays what a test tells it to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from rkllmd.config.settings import Http as HttpSettings
from rkllmd.operations.call import Call, Reply
from rkllmd.protocol.messages import Done, ModelList, ModelShow, Request, Timing, Usage
from rkllmd.transport.http.access import Keys
from rkllmd.transport.http.server import HttpServer
from rkllmd.transport.http.table import routes
from rkllmd.transport.listen import open_tcp
from tests.http.contract import no_metrics
from tests.http.wire import Answer, Http

Play = Callable[[Request, Call], Awaitable[Reply]]
MODEL = {
    "name": "parrot", "file": "/models/parrot/model.gguf", "size": 7, "engine": "tiny",
    "state": "ready", "reason": "", "default": True, "context": 512, "memory": 9,
    "capabilities": None, "architecture": "llama", "parameters": 1, "modified_at": 1.0,
    "digest": "00",
}  # fmt: skip


def done(text: str = "", reason: Any = "stop", **usage: Any) -> Done:
    """The end of an answer."""
    counts = {"prompt_tokens": 12, "cached_tokens": 10, "completion_tokens": 3, "cache_hit": True}
    return Done(
        text, reason, "parrot", None, Usage(**counts | usage),
        Timing(1.0, 2.0, 4.0, 5.0, 9.0, 500.0, 4.0),
    )  # fmt: skip


class Scripted:
    """Plays the requests that generate, remembers all of them, knows one model."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.requests: list[Request] = []
        self.calls: list[Call] = []
        self.started = asyncio.Event()

    async def __call__(self, request: Request, call: Call) -> Reply:
        if isinstance(request, ModelList | ModelShow):
            return {"models": [MODEL]}
        self.requests.append(request)
        self.calls.append(call)
        self.started.set()
        return await self.play(request, call)


class Face:
    """A server in this process, and a client for it in a thread."""

    def __init__(self, server: HttpServer, handler: Scripted, port: int) -> None:
        self.server = server
        self.handler = handler
        self.http = Http(port)

    async def post(self, path: str, body: Any, **headers: str) -> Answer:
        """POST."""
        return await asyncio.to_thread(self.http.post, path, body, **headers)

    async def get(self, path: str, **headers: str) -> Answer:
        """GET."""
        return await asyncio.to_thread(self.http.get, path, **headers)

    async def chat(self, text: str = "hello", **members: Any) -> Answer:
        """A chat."""
        return await asyncio.to_thread(self.http.chat, text, **members)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A bare connection."""
        return await asyncio.open_connection("127.0.0.1", self.http.port)


@contextlib.asynccontextmanager
async def face(play: Play, keys: tuple[str, ...] = (), **settings: Any) -> AsyncIterator[Face]:
    """The HTTP face on a port of its own."""
    handler = Scripted(play)
    table = routes(no_metrics)
    server = HttpServer(HttpSettings(**settings), handler, table, Keys(keys), grace_s=0.5)
    async with server:
        listener = open_tcp("127.0.0.1", 0)
        await server.listen(listener.socket)
        yield Face(server, handler, listener.socket.getsockname()[1])


async def silent(request: Request, call: Call) -> Reply:
    """Says nothing until it is cancelled, as a long prefill."""
    await call.stop.wait()
    return done("", "cancelled")
