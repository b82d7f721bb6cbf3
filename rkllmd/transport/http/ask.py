"""`/ask`: a question in, an answer that can be spoken out, for scripts and speech programs.

In comes `text/plain`, or JSON with `text` and perhaps `language`, `session`, `model` and
`max_sentences`. Out comes plain text without Markdown; with `?stream=1` one sentence on each line,
as soon as it is certain.
"""

from dataclasses import dataclass
from typing import Annotated

from aiohttp import web

from rkllmd.errors import RkllmdError
from rkllmd.protocol.messages import Chat, Event, Sentence, Session
from rkllmd.shape import Length, Range
from rkllmd.transport.http.bodies import fit, parse_json, parse_text
from rkllmd.transport.http.exchange import JSON, TEXT, Exchange
from rkllmd.transport.http.streams import Stream

NO = frozenset({"", "0", "false", "no"})


@dataclass(frozen=True, slots=True)
class AskBody:
    """POST /ask, as JSON."""

    text: Annotated[str, Length(1)]
    """What is asked."""
    language: Annotated[str, Length(2, 35)] | None = None
    """The language that is spoken, as a BCP 47 tag."""
    session: Session | None = None
    """A conversation that the daemon remembers."""
    model: str | None = None
    """The model; the default one when absent."""
    max_sentences: Annotated[int, Range(1, 1000)] | None = None
    """End the answer behind so many whole sentences, and stop the engine there."""


async def ask(exchange: Exchange, body: bytes) -> web.StreamResponse:
    """Answer a question in sentences that can be spoken."""
    asked = _read(exchange, body)
    request = Chat(
        text=asked.text,
        language=asked.language,
        session=asked.session,
        model=asked.model or None,
        max_sentences=asked.max_sentences,
        stream="sentences",
        speech=True,
        priority="voice",
    )
    if exchange.http.query.get("stream", "").lower() in NO:
        return await _whole(exchange, request)
    async with Stream(exchange, TEXT) as stream:

        async def deliver(event: Event) -> None:
            if isinstance(event, Sentence):
                await stream.send(_line(event))

        try:
            await exchange.ask_done(request, deliver)
            await stream.send(b"")
        except RkllmdError:
            # What was said stands; nothing that is no sentence must be spoken.
            if not stream.begun:
                raise
        return stream.response()


async def _whole(exchange: Exchange, request: Chat) -> web.Response:
    sentences: list[str] = []

    async def deliver(event: Event) -> None:
        if isinstance(event, Sentence):
            sentences.append(event.text)

    await exchange.ask_done(request, deliver)
    return exchange.text(" ".join(sentences) + "\n")


def _line(sentence: Sentence) -> bytes:
    return (" ".join(sentence.text.split()) + "\n").encode(errors="replace")


def _read(exchange: Exchange, body: bytes) -> AskBody:
    is_json = exchange.http.content_type == JSON or body.lstrip().startswith(b"{")
    return fit(AskBody, parse_json(body) if is_json else {"text": parse_text(body)})
