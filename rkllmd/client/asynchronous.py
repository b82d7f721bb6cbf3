"""A connection for programs on an asyncio loop: many requests at a time, told apart by their ids.

One task reads the socket and hands each event to the request it belongs to; all of it lives on the
loop that made the first request. A connection that is lost or closed ends every open request with
`ConnectionLost`, and nothing is asked a second time by itself. The next request connects anew, with
growing pauses for as long as `patience_s`, so that a restart of the daemon is a pause.
"""

import asyncio
import itertools
import os
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, Self

from rkllmd.client.connecting import default_socket, pauses
from rkllmd.client.lines import read_event, request_line
from rkllmd.client.problems import ConnectionLost, daemon_error

LINE_BYTES_MAX = 64 << 20
"""As long as the daemon's longest reply."""

_Inbox = asyncio.Queue[dict[str, Any] | ConnectionLost]


class AsyncClient:
    """A connection to the daemon's socket."""

    def __init__(self, path: str | os.PathLike[str] | None = None, patience_s: float = 0.0) -> None:
        self.path = os.fspath(path or default_socket())
        self._patience_s = patience_s
        self._numbers = itertools.count(1)
        self._inboxes: dict[int, _Inbox] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._connecting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let the connection go; the daemon then cancels what is open. Twice does no harm."""
        reading, self._reading = self._reading, None
        if reading is not None and self._writer is not None:
            reading.cancel()  # it may not have begun, and then ends nothing by itself
            self._writer.close()
            self._end("the connection was closed")
            await asyncio.wait({reading})

    async def events(self, op: str, /, **members: Any) -> AsyncGenerator[dict[str, Any], None]:
        """Ask, and hear everything up to the final event. Leaving in the middle cancels.

        Use `contextlib.aclosing` where the loop may be left early, so that the cancel is not late.
        """
        number = next(self._numbers)
        line = request_line(number, op, members)
        await self._connect()
        inbox = self._inboxes[number] = _Inbox()
        ended = False
        try:
            await self._send(line)
            while not ended:
                reply = await inbox.get()
                if isinstance(reply, ConnectionLost):
                    ended = True
                    raise reply
                ended = bool(reply.get("final"))
                if reply.get("event") == "error":
                    raise daemon_error(reply)
                yield reply
        finally:
            del self._inboxes[number]
            if not ended:
                self._cancel(number)

    async def call(self, op: str, /, **members: Any) -> dict[str, Any]:
        """Ask, and hear the final event only."""
        reply: dict[str, Any] = {}
        async with aclosing(self.events(op, **members)) as events:
            async for reply in events:  # noqa: B007  # the last one is wanted
                pass
        return reply

    async def sentences(self, text: str, **members: Any) -> AsyncGenerator[str, None]:
        """Chat, and hear whole sentences, ready to be spoken, while the answer goes on."""
        answer = self.events("chat", **{"text": text, "stream": "sentences", **members})
        async with aclosing(answer) as events:
            async for event in events:
                if event["event"] == "sentence":
                    yield event["text"]

    async def prefill(self, text: str | None, session: str, **members: Any) -> dict[str, Any]:
        """Let the daemon compute what a coming `chat` will need, from what is heard so far.

        None, when the wake word was heard, has it get the system prompt and the history ready.
        """
        return await self.call("prefill", text=text, session=session, **members)

    async def cancel(self, session: str) -> int:
        """End what is open in a session, on any connection; how many requests that were."""
        return int((await self.call("cancel", session=session))["cancelled"])

    async def truncate(self, session: str, spoken: str) -> str:
        """Cut the last answer in the history to what was heard, once it has ended."""
        kept = (await self.call("session.truncate", session=session, spoken=spoken))["kept"]
        return str(kept)

    async def _connect(self) -> None:
        asked = time.monotonic()
        async with self._connecting:
            if self._reading is not None and not self._reading.done():
                return
            # Who waited while another one tried in vain has waited too.
            left_s = self._patience_s - (time.monotonic() - asked)
            reader, self._writer = await self._opened(left_s)
            self._reading = asyncio.create_task(self._read(reader, self._writer), name="rkllmd")

    async def _opened(self, patience_s: float) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A new connection; a daemon that is being restarted is waited for."""
        for pause in pauses(patience_s):
            with suppress(OSError):
                return await asyncio.open_unix_connection(self.path, limit=LINE_BYTES_MAX)
            await asyncio.sleep(pause)
        try:
            return await asyncio.open_unix_connection(self.path, limit=LINE_BYTES_MAX)
        except OSError as error:
            raise ConnectionLost(
                f"cannot reach the daemon at {self.path}: {error.strerror or error}"
            ) from error

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        why = "the daemon has left"
        try:
            while line := await reader.readline():
                self._take(read_event(line))
        except OSError as error:
            why = f"the daemon has left: {error.strerror}"
        except ValueError:
            why = f"what listens at {self.path} is no rkllmd"
        finally:
            writer.close()
        self._end(why)

    def _end(self, why: str) -> None:
        """Have every open request end with a `ConnectionLost`."""
        for inbox in self._inboxes.values():
            inbox.put_nowait(ConnectionLost(why))

    def _take(self, reply: dict[str, Any]) -> None:
        """Hand an event on; one without an id is for everybody, a late one for nobody."""
        number = reply.get("id")
        for known, inbox in self._inboxes.items():
            if number is None or number == known:
                inbox.put_nowait(reply)

    async def _send(self, line: bytes) -> None:
        assert self._writer is not None, "it is connected"
        try:
            self._writer.write(line)
            await self._writer.drain()
        except OSError as error:
            raise ConnectionLost(f"the daemon has left: {error.strerror or error}") from error

    def _cancel(self, number: int) -> None:
        """Not awaited: this may run while a task is being cancelled."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(request_line(next(self._numbers), "cancel", {"target": number}))
