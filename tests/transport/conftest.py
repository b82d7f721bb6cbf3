"""A server with a scripted handler on a real socket, and clients that speak raw bytes."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from rkllmd.config.settings import Socket
from rkllmd.errors import Code, RequestError
from rkllmd.operations.call import Call, Reply
from rkllmd.protocol.messages import (
    Cancel,
    Chat,
    Complete,
    Delta,
    Done,
    Embed,
    Ping,
    Request,
    Status,
    Timing,
    Tokenize,
    Usage,
)
from rkllmd.transport.lines import LinesServer
from rkllmd.transport.listen import open_unix


def done(text: str, reason: Any = "stop") -> Done:
    """The end of an answer."""
    return Done(text, reason, "echo", None, Usage(1, 0, 1, False), Timing(0, 0, 0, None, 0, None))


class Scripted:
    """Echoes chats character by character; other operations are asked for trouble."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.release = asyncio.Event()
        self.bugs: list[BaseException] = []

    async def __call__(  # noqa: PLR0912 - one case per kind of trouble
        self, request: Request, call: Call
    ) -> Reply:
        self.calls.append(call)
        self.started.set()
        match request:
            case Ping():
                return {}
            case Chat(text=str(text)):
                for character in text:
                    await call.send(Delta(character))
                    await asyncio.sleep(0)
                return done(text)
            case Complete(prompt="silent"):
                await call.stop.wait()
                self.cancelled.set()
                return done("", "cancelled")
            case Complete(prompt="stubborn"):
                await asyncio.Event().wait()
            case Complete(prompt="released"):
                await self.release.wait()
                return done("released")
            case Complete(prompt="endless"):
                while not call.stop.is_set():
                    await call.send(Delta("x" * 1000))
                    await asyncio.sleep(0)
                return done("", "cancelled")
            case Cancel(target=target):
                found = call.connection.find(target)
                if found:
                    found.cancel()
                return {"cancelled": int(found is not None)}
            case Tokenize(text=code):
                raise RequestError(Code(code), "asked for", member="text")
            case Embed(input="cancelled"):
                raise asyncio.CancelledError
            case Embed(input="unserialisable"):
                return {"it": object()}
            case Embed():
                raise ZeroDivisionError("asked for")
            case Status():
                return {"who": call.caller.pid, "uid": call.caller.uid, "gid": call.caller.gid}
        raise AssertionError(request)


class Client:
    """Raw bytes out, JSON lines in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, op: str, **members: Any) -> None:
        """Send a request."""
        self.write(json.dumps({"op": op, **members}).encode() + b"\n")

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)

    async def hear(self) -> dict[str, Any]:
        """The next line."""
        line = await self.reader.readline()
        assert line.endswith(b"\n"), f"the stream ended with {line!r}"
        return dict(json.loads(line))

    async def ask(self, op: str, **members: Any) -> dict[str, Any]:
        """Send a request and return its final line."""
        self.say(op, **members)
        while not (line := await self.hear()).get("final"):
            pass
        return line

    async def rest(self) -> list[dict[str, Any]]:
        """Everything until the end of the stream."""
        return [json.loads(line) for line in (await self.reader.read()).splitlines()]

    async def close(self) -> None:
        """Leave."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


class House:
    """The server, its handler, its socket and its clients."""

    def __init__(self, path: Path, server: LinesServer, handler: Scripted) -> None:
        self.path = path
        self.server = server
        self.handler = handler
        self.clients: list[Client] = []

    async def client(self) -> Client:
        """A new connection."""
        made = await asyncio.open_unix_connection(str(self.path), limit=1 << 27)
        client = Client(*made)
        self.clients.append(client)
        return client


@contextlib.asynccontextmanager
async def house_at(path: Path, grace_s: float = 15.0, **settings: Any) -> AsyncIterator[House]:
    """A running server."""
    handler = Scripted()
    listener = open_unix(path)
    async with LinesServer(
        Socket(**settings), handler, on_bug=handler.bugs.append, grace_s=grace_s
    ) as server:
        house = House(path, server, handler)
        try:
            await server.listen(listener.socket)
            yield house
        finally:
            for client in house.clients:
                await client.close()
            await server.close()
            listener.close()


@pytest.fixture
def house_in(tmp_path: Path) -> Callable[..., contextlib.AbstractAsyncContextManager[House]]:
    """Makes a server with settings of the test's choice."""
    return lambda **settings: house_at(tmp_path / "s", **settings)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A server with the default settings."""
    async with house_at(tmp_path / "s") as made:
        yield made
