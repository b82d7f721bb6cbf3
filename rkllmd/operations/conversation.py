"""`chat`, `complete` and `prefill`: which messages, which system prompt, which stored prefix.

The system prompt of a conversation is its own (`system`, or a system message), else the prompt that
`use_cache` names, else the model's prompt `system`. A named prompt that is not there is no failure:
the prompt `system` takes its place, no cache does, and `warnings` says so, as it does where another
prompt is named than the request brings. `use_cache:false` changes nothing about the words, only
that they are all computed anew.
"""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from rkllmd.chat.languages import wish_for
from rkllmd.errors import Code, RequestError, RkllmdError
from rkllmd.ids import CacheName, SessionName
from rkllmd.operations.call import Call
from rkllmd.operations.generation import PRIORITIES, Generator
from rkllmd.operations.media import take_media, without_media
from rkllmd.operations.order import Place
from rkllmd.operations.output import Manner, Output
from rkllmd.operations.services import Services
from rkllmd.promptcache.index import Stored
from rkllmd.protocol.messages import (
    CalledFunction,
    Chat,
    Complete,
    Conversation,
    Done,
    Message,
    Prefill,
    Tool,
    ToolCall,
    ToolCalled,
)
from rkllmd.registry.loaded import LoadedModel
from rkllmd.registry.models import ModelEntry
from rkllmd.runs import MARK, Media, Prompt
from rkllmd.scheduling.lane import Lane
from rkllmd.scheduling.sessions import Session, content_text, without_oldest_turn
from rkllmd.scheduling.turns import Priority

SYSTEM = CacheName("system")
OWN_SYSTEM = frozenset({"system", "developer"})
NOT_KEPT = "the session does not keep images and sounds; send them again to ask more about them"


@dataclass(slots=True)
class Talk:
    """A conversation, ready to be rendered for a model."""

    services: Services
    entry: ModelEntry
    request: Conversation
    session: Session | None
    place: Place
    tools: tuple[Tool, ...]
    partial: bool = False
    """The last message may still go on: nothing stands behind its text."""
    warnings: list[str] = field(default_factory=list)
    only: CacheName | None = None
    """The one stored prefix that may be used."""
    none_stored: bool = False
    own_prefix: bool = True
    """The client brought a system prompt or tools of its own."""
    history: list[Message] = field(default_factory=list)
    """The conversation up to and with what this request brings."""
    messages: list[Message] = field(default_factory=list)
    """What of it is rendered, behind its system prompt."""
    media: Mapping[str, Media] = field(default_factory=dict)
    """What the marks in the messages stand for."""
    _found: Stored | None = None

    async def gather(self, call: Call) -> None:
        """Take the conversation as it is when the requests before this one have ended."""
        await self.place.reached(call)
        taken = await take_media(_history(self.session, self.request), call.caller)
        self.history, self.media = taken.messages, taken.known
        if not (self.history or self.partial):
            raise RequestError(Code.BAD_REQUEST, "messages: found none, allowed: at least one")
        self.messages = list(self.history)
        if self.request.system is not None:
            self.messages.insert(0, Message("system", self.request.system))
        own = self._system_text()
        prompt = self._wanted_prompt(own)
        if own is None:
            self.own_prefix = bool(self.tools)
            if prompt is not None:
                self.messages.insert(0, Message("system", prompt))

    @property
    def cold(self) -> bool:
        """Whether nothing that is held or stored may be used."""
        return self.request.use_cache is False

    def render(self, model: LoadedModel) -> str:
        """The whole prompt."""
        messages = self._spoken()
        if all(message.role in OWN_SYSTEM for message in messages):
            return self._prefix(model)
        text = model.template.render(messages, self.tools, self.request.thinking).text
        if self.partial:
            said = content_text(messages[-1]).strip()
            if said not in text:
                return self._prefix(model)
            # Behind an image nothing can be held, so there is nothing to prepare.
            return MARK.split(text[: text.rindex(said) + len(said)])[0]
        return text

    def shorten(self) -> bool:
        """Leave out the oldest turn of a session; False when there is only one.

        Messages that a client keeps by itself are its own to shorten, whatever session they name.
        """
        if self.request.session is None or not _goes_on(self.request):
            return False
        shorter = without_oldest_turn(self.messages)
        if shorter is None:
            return False
        self.messages = shorter
        return True

    def stored(self, model: LoadedModel, prompt: Prompt) -> Stored | None:
        """The longest stored prefix that the prompt begins with and that may be used."""
        if self.cold or self.none_stored:
            return None
        self._found = self.services.caches.find(model, prompt, self.only)
        return self._found

    async def learn(self, lane: Lane, client: str) -> None:
        """Let the caches know of a prefix that no stored state has all of."""
        model = lane.model
        if not self.own_prefix or self.cold or model is None:
            return
        text = self._prefix(model)
        try:
            prefix = await lane.prompt(text, wait=False)
        except RkllmdError:
            return  # the answer is there; it does not wait for another worker
        if self._found is None or self._found.prefix.units < prefix.units:
            self.services.caches.saw(
                model, client, self._system_text() or "", text, prefix, self.tools,
                thinking=self.request.thinking,
            )  # fmt: skip

    def _spoken(self) -> list[Message]:
        """The messages with the wish for the language that is spoken, where it is another one."""
        wish = wish_for(self.request.language, self.entry.settings.languages[0])
        whole = self.messages[: -1 if self.partial else None] if wish else []
        turns = [
            replace(one, content=content_text(one) + wish) if one.role == "user" else one
            for one in whole
        ]
        return turns + self.messages[len(turns) :]

    def _system_text(self) -> str | None:
        """The system prompt in the messages; None without one."""
        head = itertools.takewhile(lambda message: message.role in OWN_SYSTEM, self.messages)
        texts = [content_text(message) for message in head]
        return "\n\n".join(texts) if texts else None

    def _prefix(self, model: LoadedModel) -> str:
        return model.template.render_prefix(
            self._system_text() or None, self.tools, self.request.thinking
        )

    def _wanted_prompt(self, own: str | None) -> str | None:
        """The system prompt of a request that has none of its own, and which caches may be used."""
        wanted = self.request.use_cache
        name = CacheName(wanted) if isinstance(wanted, str) else SYSTEM
        text = self.services.caches.prompt_text(self.entry.name, name)
        if not isinstance(wanted, str):
            return text
        if text is None:
            self.warnings.append(f"there is no cache {name!r}; the request ran without it")
            self.none_stored = True
            return self.services.caches.prompt_text(self.entry.name, SYSTEM)
        if own is None:
            self.only = name
        elif own.strip() != text.strip():
            self.warnings.append(
                f"the cache {name!r} had no effect: the request has its own system prompt"
            )
        return text


@dataclass(slots=True)
class Continuation:
    """A bare text, ready to be gone on with."""

    services: Services
    entry: ModelEntry
    request: Complete
    warnings: list[str] = field(default_factory=list)
    media: Mapping[str, Media] = field(default_factory=dict)
    """A bare text has none."""

    async def gather(self, call: Call) -> None:
        """A text is all there."""

    @property
    def cold(self) -> bool:
        """Whether nothing that is held or stored may be used."""
        return self.request.use_cache is False

    def render(self, model: LoadedModel) -> str:
        """The text; behind a named cache's prefix where one is asked for."""
        wanted = self.request.use_cache
        if not isinstance(wanted, str):
            return self.request.prompt
        text = self.services.caches.prompt_text(self.entry.name, CacheName(wanted))
        if text is None:
            self.warnings[:] = [f"there is no cache {wanted!r}; the request ran without it"]
            return self.request.prompt
        return model.template.render_prefix(text) + self.request.prompt

    def shorten(self) -> bool:
        """A text is not shortened."""
        return False

    def stored(self, model: LoadedModel, prompt: Prompt) -> Stored | None:
        """The longest stored prefix that the prompt begins with and that may be used."""
        if self.cold or self.warnings:
            return None
        wanted = self.request.use_cache
        only = CacheName(wanted) if isinstance(wanted, str) else None
        return self.services.caches.find(model, prompt, only)


async def chat(services: Services, request: Chat, call: Call) -> Done:
    """Answer a conversation."""
    entry = services.model(request.model)
    _check(request)
    services.supersede(request.session)
    with _session(services, request) as session, services.order.place(request.session) as place:
        talk = Talk(services, entry, request, session, place, _tools(request))
        manner = Manner(
            stream=request.stream,
            speech=bool(request.speech),
            thinking=request.thinking,
            language=request.language or entry.settings.languages[0],
            tools=talk.tools,
            max_sentences=request.max_sentences,
        )
        output = Output(manner)
        priority = PRIORITIES[request.priority]
        generator = Generator(services, entry, request, call, talk, output, priority)
        outcome = await generator.run()
        outcome.warnings[:0] = talk.warnings
        if session is not None and (output.text or output.calls):
            answer = Message("assistant", output.text or None, _as_tool_calls(output.calls))
            services.sessions.remember(session, [*without_media(talk.history), answer])
            if talk.media:
                outcome.warnings.append(NOT_KEPT)
    if generator.lane is not None:
        await talk.learn(generator.lane, call.caller.user)
    done = outcome.done(entry.name, output.text, request.session)
    services.note_answer(done)
    return done


async def complete(services: Services, request: Complete, call: Call) -> Done:
    """Go on with a text."""
    entry = services.model(request.model)
    text = Continuation(services, entry, request)
    manner = Manner(request.stream, bool(request.speech), max_sentences=request.max_sentences)
    output = Output(manner)
    generator = Generator(
        services, entry, request, call, text, output, PRIORITIES[request.priority]
    )
    outcome = await generator.run()
    outcome.warnings[:0] = text.warnings
    done = outcome.done(entry.name, output.text)
    services.note_answer(done)
    return done


async def prefill(services: Services, request: Prefill, call: Call) -> dict[str, Any]:
    """Compute what a coming chat will need; a newer prefill or chat of the session ends it."""
    entry = services.model(request.model)
    _check(request)
    request = replace(request, max_tokens=0)
    with _session(services, request) as session, services.superseding(request.session, call):
        place = services.order.behind(request.session)
        talk = Talk(services, entry, request, session, place, _tools(request), partial=True)
        output = Output(Manner(stream=False))
        outcome = await Generator(
            services, entry, request, call, talk, output, Priority.BACKGROUND
        ).run()
    return {
        "model": entry.name,
        "prompt_tokens": outcome.prompt_tokens,
        "cached_tokens": outcome.cached_tokens,
        "cache_hit": outcome.cache_hit,
        "cached_prompts": list(outcome.caches),
        "ms": round(outcome.prefill_ms, 3),
        "superseded": outcome.reason == "cancelled",
        "warnings": talk.warnings,
    }


def _check(request: Conversation) -> None:
    if request.text is not None and request.messages is not None:
        raise RequestError(
            Code.BAD_REQUEST, "text: found `text` and `messages`, allowed: one of them"
        )


@contextmanager
def _session(services: Services, request: Conversation) -> Iterator[Session | None]:
    if request.session is None:
        yield None
        return
    with services.sessions.talk(SessionName(request.session), time.monotonic) as session:
        yield session


def _history(session: Session | None, request: Conversation) -> list[Message]:
    """The conversation up to and with what this request brings."""
    brought = list(request.messages or ())
    if request.text is not None:
        brought = [Message("user", request.text)]
    return [*session.history, *brought] if session is not None and _goes_on(request) else brought


def _goes_on(request: Conversation) -> bool:
    """Whether it goes on with its session, as a text does, and the answers of tools.

    Other messages replace the session's history.
    """
    messages = request.messages or ()
    return request.text is not None or all(message.role == "tool" for message in messages)


def _tools(request: Conversation) -> tuple[Tool, ...]:
    return () if request.tool_choice == "none" else request.tools


def _as_tool_calls(calls: Sequence[ToolCalled]) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(CalledFunction(call.name, call.arguments), id=call.call_id) for call in calls
    )
