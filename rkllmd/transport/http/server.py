"""Serves HTTP on listening sockets: one request's frame, and how the server leaves.

Around every endpoint: a request id, the origin and the key, the body within its bounds, the one
table of errors, the line in the log. Leaving is as on the lines' socket: no new connections and no
new requests; what runs goes on for `drain_s`, is cancelled then, and has GRACE_SECONDS to end.
"""

import asyncio
import logging
import re
import secrets
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Self

from aiohttp import web

from rkllmd.config.settings import Http
from rkllmd.errors import Code, InternalError, RkllmdError
from rkllmd.operations.call import Handler
from rkllmd.protocol.codec import to_json
from rkllmd.transport.http import access, bodies, errors
from rkllmd.transport.http.access import Keys
from rkllmd.transport.http.exchange import JSON, TEXT, Exchange
from rkllmd.transport.http.routes import Route, find
from rkllmd.transport.http.wire import GRACE_SECONDS, LINGER_SECONDS, Wire
from rkllmd.transport.http.work import Work
from rkllmd.transport.listen import BACKLOG

CLIENT_LEFT = 499
"""What nginx calls a request whose client is gone; only the log sees it."""

PATH_CHARACTERS_MAX = 200
"""Of a path in the log."""

OnAnswered = Callable[[str, int], None]

_GOOD_ID = re.compile(r"[\x21-\x7e]{1,128}")

journal = logging.getLogger("rkllmd.http")


class HttpServer:
    """Serves the routes until `close`."""

    def __init__(
        self,
        settings: Http,
        handler: Handler,
        routes: Sequence[Route],
        keys: Keys,
        *,
        on_answered: OnAnswered = lambda _name, _status: None,
        grace_s: float = GRACE_SECONDS,
    ) -> None:
        """`on_answered` is told of each answer: the route's name and the status."""
        self.settings = settings
        self.routes = routes
        self._work = Work(settings, handler)
        self._keys = keys
        self._on_answered = on_answered
        self._grace_s = grace_s
        self._wire: Wire | None = None
        self._accepting: list[asyncio.Server] = []
        self._serving: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._wire = Wire(self.settings, self._serve)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def listen(self, listening: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Accept clients of a listening socket, which is owned and closed from now on."""
        assert self._wire is not None, "the server is entered before it listens"
        server = await asyncio.get_running_loop().create_server(
            self._wire, sock=listening, backlog=BACKLOG, ssl=tls
        )
        self._accepting.append(server)

    # One request.

    async def _serve(self, http: web.BaseRequest) -> web.StreamResponse:
        assert self._wire is not None, "it serves while it is entered"
        task = asyncio.current_task()
        assert task is not None, "aiohttp serves each request in a task"
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        peer = self._wire.peer(http)
        if peer is None:
            return web.Response(status=CLIENT_LEFT)
        began = asyncio.get_running_loop().time()
        exchange = Exchange(self._work, peer, http, _request_id(http))
        peer.stop_waiting()
        name = "other"
        try:
            route, exchange.path = self._admit(exchange)
            name = route.name
            response = await self._answer(exchange, route)
        except RkllmdError as error:
            response = _refusal(exchange, error)
        except ConnectionError:
            response = web.Response(status=CLIENT_LEFT)
        except Exception as bug:  # noqa: BLE001 - every request gets its end
            journal.error("%s [%s]: a mistake of ours", name, exchange.id, exc_info=bug)
            what = f"a mistake of the service ({type(bug).__name__})"
            response = _refusal(exchange, InternalError(Code.INTERNAL, what))
        finally:
            peer.wait_for_request(rest_of_body=not http.content.is_eof())
        self._note(exchange, name, CLIENT_LEFT if peer.is_gone else response.status, began)
        return response

    def _admit(self, exchange: Exchange) -> tuple[Route, dict[str, str]]:
        http = exchange.http
        exchange.headers |= access.check_origin(http, self.settings.origins)
        if http.method == "OPTIONS" and "Origin" in http.headers:
            return Route("OPTIONS", "*", _preflight, None), {}
        route, parameters = find(self.routes, http.method, http.rel_url.raw_path)
        is_local = exchange.peer.connection.caller.uid is not None
        if self._keys and not is_local and not route.open_to_all:
            access.check_key(http, self._keys)
        return route, parameters

    async def _answer(self, exchange: Exchange, route: Route) -> web.StreamResponse:
        if route.body is None:
            return await route.endpoint(exchange)
        body = await bodies.read_body(
            exchange.http, self.settings.body_bytes_max, self.settings.body_s
        )
        if route.body is bytes:
            return await route.endpoint(exchange, body)
        return await route.endpoint(exchange, bodies.parse(route.body, body))

    def _note(self, exchange: Exchange, name: str, status: int, began: float) -> None:
        self._on_answered(name, status)
        http, caller = exchange.http, exchange.peer.connection.caller
        # Without what is behind the `?`: it may be somebody's words.
        what = f"{http.method} {ascii(http.rel_url.raw_path)[1:-1][:PATH_CHARACTERS_MAX]}"
        who = f"pid {caller.pid} uid {caller.uid}" if caller.uid is not None else caller.user
        milliseconds = (asyncio.get_running_loop().time() - began) * 1000
        # Who asks whether we are ready asks often, and is told 503 until we are.
        is_news = http.method not in {"GET", "HEAD"} or status in range(400, 500)
        level = logging.INFO if is_news else logging.DEBUG
        journal.log(level, "%s %d, %.0f ms, %s [%s]", what, status, milliseconds, who, exchange.id)

    # Leaving.

    async def close(self, drain_s: float = 0.0) -> None:
        """Leave. A second call, while the first one waits, shortens its wait to the second's."""
        self._work.is_leaving = True
        while self._accepting:
            self._accepting.pop().close()
        if self._wire is None:
            return
        self._wire.close_idle()
        await self._work.end(drain_s, self._grace_s)
        await self._wire.shutdown(LINGER_SECONDS)
        if self._serving:
            await asyncio.wait(self._serving, timeout=self._grace_s)
        await asyncio.sleep(0)  # aiohttp's task of a lost connection ends one turn later


async def _preflight(exchange: Exchange) -> web.Response:
    """What a browser asks before it sends what a page wants."""
    return web.Response(status=204, headers={**exchange.headers, **access.preflight(exchange.http)})


def _request_id(http: web.BaseRequest) -> str:
    sent = http.headers.get("x-request-id", "")
    return sent if _GOOD_ID.fullmatch(sent) else secrets.token_hex(8)


def _refusal(exchange: Exchange, error: RkllmdError) -> web.Response:
    status, path = errors.status_of(error), exchange.http.path
    if path.rstrip("/") == "/ask":
        content_type, body = TEXT, error.message + "\n"
    elif exchange.is_ollama:
        content_type, body = JSON, to_json({"error": error.message})
    else:
        content_type, body = JSON, to_json(errors.body_of(error))
    response = web.Response(
        body=body.encode(errors="replace"),
        status=status,
        content_type=content_type,
        headers={**exchange.headers, **errors.headers_of(error)},
    )
    if status in {408, 413}:
        response.force_close()  # The rest of the body may still be on its way.
    return response
