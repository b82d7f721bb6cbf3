"""An answer of a model, whole or piece by piece, whatever shape a family of endpoints gives it."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from aiohttp import web

from rkllmd.errors import RkllmdError, StateError
from rkllmd.protocol.messages import Delta, Done, Event, ToolCalled
from rkllmd.transport.http.exchange import Exchange
from rkllmd.transport.http.streams import Stream

Ask = Callable[[Callable[[Event], Awaitable[None]]], Awaitable[Done]]
"""Asks an operation, whose events go to a function, for an answer."""


class Answer(ABC):
    """One answer being written."""

    def __init__(self, model: str) -> None:
        self.thoughts = ""
        self.calls: list[ToolCalled] = []
        self.model = model

    async def collect(self, event: Event) -> None:
        """Keep of an event what the end of the answer does not have."""
        match event:
            case Delta(text, "thinking"):
                self.thoughts += text
            case ToolCalled():
                self.calls.append(event)
            case _:
                pass

    @abstractmethod
    def whole(self, done: Done) -> Mapping[str, Any]:
        """The plain answer."""

    @abstractmethod
    def chunks(self, event: Event) -> Iterator[bytes]:
        """What an event becomes in a stream."""

    @abstractmethod
    def filler(self) -> bytes:
        """What says nothing, at any time."""

    @abstractmethod
    def last(self, done: Done) -> Iterator[bytes]:
        """The end of a stream."""

    @abstractmethod
    def broken_off(self, error: RkllmdError) -> bytes:
        """The end of a stream that has begun and cannot go on."""


async def answered(
    exchange: Exchange, ask: Ask, answer: Answer, stream_type: str | None
) -> web.StreamResponse:
    """Tell an answer: whole, or as a stream of this content type."""
    if stream_type is None:
        return exchange.json(answer.whole(await ask(answer.collect)))
    async with Stream(exchange, stream_type, answer.filler) as stream:

        async def deliver(event: Event) -> None:
            for chunk in answer.chunks(event):
                await stream.send(chunk)

        try:
            done = await ask(deliver)
            for chunk in answer.last(done):
                await stream.send(chunk)
        except RkllmdError as error:
            if not stream.begun:
                raise
            with suppress(StateError):
                await stream.send(answer.broken_off(error))
        return stream.response()
