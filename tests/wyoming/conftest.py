"""A server with a scripted handler, a daemon on a small random model, and the `wyoming` package."""

import asyncio
import contextlib

import pytest
from wyoming.client import AsyncClient

from rkllmd.config.settings import Wyoming
from rkllmd.errors import FACTS, Code
from rkllmd.operations.call import Reply
from rkllmd.protocol.messages import (
    Cancel,
    Chat,
    Delta,
    Done,
    ModelList,
    Prefill,
    Sentence,
    SessionTruncate,
    Timing,
    Usage,
)
from rkllmd.transport.listen import open_tcp, open_unix
from rkllmd.transport.wyoming.access import networks_of
from rkllmd.transport.wyoming.server import WyomingServer
from tests.daemon.conftest import parrot  # noqa: F401 - a fixture
from tests.daemon.household import Household
from tests.http.conftest import free_port

MODELS = [
    {"name": "big", "state": "ready", "default": False, "languages": ["de"]},
    {"name": "small", "state": "loading", "default": True, "languages": ["en", "nl"]},
    {"name": "unused", "state": "unloaded", "default": False, "languages": ["en"]},
    {"name": "torn", "state": "broken", "default": False, "languages": ["en"]},
]


def done(text, reason="stop"):
    """The end of an answer."""
    return Done(text, reason, "small", None, Usage(1, 0, 1, False), Timing(0, 0, 0, None, 0, None))


class Scripted:
    """Echoes transcripts word by word; some words ask for trouble."""

    def __init__(self):
        self.requests = []
        self.calls = []
        self.arrived = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.bugs = []

    async def __call__(self, request, call) -> Reply:  # noqa: PLR0912 - one case per trouble
        self.requests.append(request)
        self.calls.append(call)
        self.arrived.set()
        match request:
            case ModelList():
                return {"models": MODELS}
            case Prefill(text="boom"):
                raise ZeroDivisionError("asked for")
            case Prefill():
                return {"prompt_tokens": 7, "cached_tokens": 5, "ms": 1.5}
            case SessionTruncate():
                return {"kept": request.spoken}
            case Cancel(all=everything, session=session):
                others = [
                    one for one in call.connection.open_calls()
                    if one is not call and (everything or one.session == session)
                ]  # fmt: skip
                for one in others:
                    one.cancel()
                return {"cancelled": len(others)}
            case Chat(text="silent"):
                await call.stop.wait()
                self.cancelled.set()
                return done("", "cancelled")
            case Chat(text="half"):
                await call.send(Delta("Once"))
                await call.stop.wait()
                self.cancelled.set()
                return done("Once", "cancelled")
            case Chat(text="endless"):
                while not call.stop.is_set():
                    await call.send(Delta("x" * 1000))
                    await asyncio.sleep(0)
                self.cancelled.set()
                return done("", "cancelled")
            case Chat(text="stubborn"):
                await asyncio.Event().wait()
            case Chat(text="boom"):
                raise ZeroDivisionError("asked for")
            case Chat(text="cancelled"):
                raise asyncio.CancelledError
            case Chat(text="torn"):
                await call.send(Delta("Once"))
                raise FACTS[Code.ENGINE_CRASHED].family(Code.ENGINE_CRASHED, "it died")
            case Chat(text=text) if text in set(Code):
                raise FACTS[Code(text)].family(Code(text), "asked for")
            case Chat(text=text):
                await call.send(Delta("not for ears", channel="thinking"))
                for word in text.split():
                    await call.send(Delta(f"{word} "))
                    await asyncio.sleep(0)
                await call.send(Sentence(0, text))
                return done(text)
        raise AssertionError(request)

    def of(self, kind):
        """The requests of a kind."""
        return [one for one in self.requests if isinstance(one, kind)]


class House:
    """The server, its handler, and where it listens."""

    def __init__(self, server, path, port):
        self.server = server
        self.handler = server.handler
        self.uris = {"unix": f"unix://{path}", "tcp": f"tcp://127.0.0.1:{port}"}

    def client(self, kind="unix"):
        """A client of the `wyoming` package."""
        return AsyncClient.from_uri(self.uris[kind])

    async def empty(self):
        """Wait until everybody is gone and everything has ended."""
        await self.server._nobody.wait()


@contextlib.asynccontextmanager
async def house_at(path, grace_s=15.0, **settings):
    """A running server."""
    listeners = [open_unix(path), open_tcp("127.0.0.1", 0)]
    port = listeners[1].socket.getsockname()[1]
    networks = networks_of(settings.get("networks", ()))
    handler = Scripted()
    async with WyomingServer(
        Wyoming(**settings), handler, networks, on_bug=handler.bugs.append, grace_s=grace_s
    ) as server:
        try:
            for listener in listeners:
                await server.listen(listener.socket)
            yield House(server, path, port)
        finally:
            await server.close()
            for listener in listeners:
                listener.close()


@pytest.fixture
def house_in(tmp_path):
    """Makes a server with settings of the test's choice."""
    return lambda **settings: house_at(tmp_path / "s", **settings)


@pytest.fixture
async def house(tmp_path):
    """A server with the default settings."""
    async with house_at(tmp_path / "s") as made:
        yield made


@pytest.fixture(scope="module")
def home(tmp_path_factory, parrot):  # noqa: F811 - the fixture
    """A daemon that serves Wyoming on both."""
    found = Household(tmp_path_factory.mktemp("wyoming"), parrot)
    found.wyoming_port = free_port()
    found.settings += [f"wyoming.port={found.wyoming_port}", "sampling.temperature=0"]
    found.settings += ["models.default=parrot", "sampling.max_tokens=24"]
    talker = found.add_model("talker", parrot).parent
    (talker / "model.yaml").write_text("max_tokens: 1500\nlanguages: [en, de]\n")
    found.start()
    yield found
    found.close()


@pytest.fixture(params=["unix", "tcp"])
def uri(request, home):
    """Where the daemon is found."""
    return {
        "unix": f"unix://{home.folder}/run/wyoming.sock",
        "tcp": f"tcp://127.0.0.1:{home.wyoming_port}",
    }[request.param]


async def hear(client, *kinds):
    """The next event, which has to be of one of these types."""
    event = await client.read_event()
    assert event is not None, "the server closed the connection"
    assert not kinds or event.type in kinds, event
    return event


async def hear_until(client, kind):
    """The events up to and with the first of a type."""
    heard = [await hear(client)]
    while heard[-1].type != kind:
        heard.append(await hear(client))
    return heard


async def ask(home, op, **members):
    """What the daemon says on its own socket."""
    return await asyncio.to_thread(home.ask, op, **members)
