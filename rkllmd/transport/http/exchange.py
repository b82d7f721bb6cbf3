"""One HTTP request, from its head to the end of its answer, as the endpoints see it.

An endpoint asks operations with `ask`, and answers with `json`, `text` or a `streams.Stream`. The
operation runs in a task of its own: it is asked to end when the client leaves or the daemon does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from rkllmd.errors import Code, InternalError, StateError
from rkllmd.operations.call import Call, Reply
from rkllmd.protocol.codec import to_json
from rkllmd.protocol.messages import Done, Event, ModelList, Request
from rkllmd.transport.http.wire import Peer
from rkllmd.transport.http.work import Work

JSON = "application/json"
TEXT = "text/plain"


async def unheard(_: Event) -> None:
    """For operations whose events no one waits for."""


class Exchange:
    """One request and what is needed to answer it."""

    def __init__(self, work: Work, peer: Peer, http: web.BaseRequest, request_id: str) -> None:
        self.work = work
        self.peer = peer
        self.http = http
        self.id = request_id
        self.path: Mapping[str, str] = {}
        """The parts of the path that are parameters."""
        self.headers = {"x-request-id": request_id, "Server": "rkllmd"}
        """Those of every answer."""
        self.is_ollama = http.path.startswith("/api/")

    async def ask(
        self, request: Request, deliver: Callable[[Event], Awaitable[None]] = unheard
    ) -> Reply:
        """What the operation says in the end; what it says before goes to `deliver`."""
        self.work.check_open()
        call = Call(self.peer.connection, deliver)
        task = asyncio.get_running_loop().create_task(
            self._handle(request, call), name=f"http {request.op} {self.id}"
        )
        self.peer.opened(call, task)
        self.work.opened(call, task)
        try:
            await asyncio.wait({task})
        finally:
            self.peer.ended(call, task)
            self.work.ended(call, task)
            if not task.done():  # aiohttp ends this request by force
                call.cancel()
                task.cancel()
        if task.cancelled():
            raise _left()
        reply = task.result()
        if self.work.is_leaving and isinstance(reply, Done) and reply.reason == "cancelled":
            raise _left()
        return reply

    async def ask_done(
        self, request: Request, deliver: Callable[[Event], Awaitable[None]] = unheard
    ) -> Done:
        """The end of an answer."""
        reply = await self.ask(request, deliver)
        assert isinstance(reply, Done), f"{request.op} ends with a Done"
        return reply

    async def ask_values(self, request: Request) -> Mapping[str, Any]:
        """The values that an operation gives."""
        reply = await self.ask(request)
        if isinstance(reply, Done):  # it was cancelled
            raise _left()
        return reply

    async def default_model(self) -> str:
        """The model of requests that name none; empty when there is none."""
        reply = await self.ask_values(ModelList())
        return next((str(one["name"]) for one in reply["models"] if one["default"]), "")

    async def _handle(self, request: Request, call: Call) -> Reply:
        try:
            return await self.work.handler(request, call)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise InternalError(Code.INTERNAL, "the operation was cancelled by nobody") from error

    def json(
        self, data: Any, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> web.Response:
        """An answer in JSON."""
        return web.Response(
            body=to_json(data).encode(errors="replace"),
            status=status,
            content_type=JSON,
            headers={**self.headers, **(headers or {})},
        )

    def text(
        self, text: str, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> web.Response:
        """An answer in plain text."""
        return web.Response(
            body=text.encode(errors="replace"),
            status=status,
            content_type=TEXT,
            charset="utf-8",
            headers={**self.headers, **(headers or {})},
        )


def _left() -> StateError:
    return StateError(Code.SHUTTING_DOWN, "the request ended before its answer was complete")
