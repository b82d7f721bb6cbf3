"""What `chat`, `complete` and `prefill` have in common: one prompt to one measured answer.

Works through everything that can happen to a request on its way: the model has to be loaded, the
conversation does not fit into the context, a higher priority takes the worker away in the middle, a
time runs out, the client leaves.
"""

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from rkllmd.chat.forms import forms_of
from rkllmd.chat.thinking import opens_thinking
from rkllmd.chat.toolcalls import find_family
from rkllmd.config.settings import Config
from rkllmd.errors import Code, RequestError, StateError
from rkllmd.ids import CacheName
from rkllmd.operations.call import Call
from rkllmd.operations.models import lane_of
from rkllmd.operations.output import Output
from rkllmd.operations.reporting import PROGRESS_SECONDS
from rkllmd.operations.services import Services
from rkllmd.promptcache.index import Stored
from rkllmd.protocol.messages import (
    Done,
    DoneReason,
    Event,
    Generation,
    Progress,
    Queued,
    Sentence,
    Timing,
    Usage,
)
from rkllmd.registry.loaded import LoadedModel
from rkllmd.registry.models import ModelEntry
from rkllmd.runs import Constraint, Form, Limits, Media, Prompt, Sampling
from rkllmd.scheduling.answers import Answer, Job, Listener, answer
from rkllmd.scheduling.lane import Lane, Wish
from rkllmd.scheduling.stop import Stopped, StopReason
from rkllmd.scheduling.turns import Priority

ROOM_FOR_ANSWER = 0.125
"""The share of the context that a conversation leaves free for the answer, at most."""

PRIORITIES = {
    "voice": Priority.VOICE,
    "normal": Priority.NORMAL,
    "background": Priority.BACKGROUND,
}
DROPPED = "the oldest turns were dropped, since the conversation did not fit into the context"

STOPS_DROPPED = "stop had no effect: the answer is held to a form, whose end is its own"

_SAMPLING = (
    "temperature", "top_p", "top_k", "repeat_penalty", "frequency_penalty", "presence_penalty",
    "seed",
)  # fmt: skip


class Text(Protocol):
    """What is to be run, for whatever model it turns out to be."""

    async def gather(self, call: Call) -> None:
        """Wait until it is known."""

    def render(self, model: LoadedModel) -> str:
        """The whole prompt."""

    def shorten(self) -> bool:
        """Leave out the oldest turn; False when nothing can be left out."""

    def stored(self, model: LoadedModel, prompt: Prompt) -> Stored | None:
        """The stored prefix that the prompt begins with, if one may be used."""

    @property
    def cold(self) -> bool:
        """Whether nothing that is held or stored may be used."""

    @property
    def media(self) -> Mapping[str, Media]:
        """What marks in the text stand for."""


@dataclass(slots=True)
class Outcome:
    """How it went."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reason: DoneReason = "stop"
    cache_hit: bool = False
    caches: tuple[CacheName, ...] = ()
    queue_s: float = 0.0
    load_s: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    first_s: float | None = None
    first_sentence_s: float | None = None
    last_s: float | None = None
    total_s: float = 0.0
    warnings: list[str] = field(default_factory=list)

    def add(self, part: Answer) -> None:
        """Take in one run; a request has several when others take the worker in between."""
        self.queue_s += part.queued_s
        self.load_s += part.load_s
        self.warnings += [warning for warning in part.warnings if warning not in self.warnings]
        if part.cache is not None and part.cache_hit:
            self.cache_hit = True
            self.caches = tuple(dict.fromkeys([*self.caches, part.cache]))
        if part.stats is None:
            return
        if not self.completion_tokens:  # what comes later adds the answer so far to the prompt
            self.prompt_tokens = part.stats.prompt_tokens
            self.cached_tokens = part.stats.cached_tokens
        self.completion_tokens += part.stats.generated_tokens
        self.prefill_ms += part.stats.prefill_ms
        self.decode_ms += part.stats.decode_ms

    def done(self, model: str, text: str, session: str | None = None) -> Done:
        """The final event."""
        decoded = max(self.completion_tokens - 1, 0)
        return Done(
            text=text,
            reason=self.reason,
            model=model,
            session=session,
            usage=Usage(
                self.prompt_tokens,
                self.cached_tokens,
                self.completion_tokens,
                self.cache_hit,
                tuple(self.caches),
            ),
            timing=Timing(
                queue_ms=_ms(self.queue_s),
                load_ms=_ms(self.load_s),
                prefill_ms=round(self.prefill_ms, 3),
                ttft_ms=None if self.first_s is None else _ms(self.first_s),
                total_ms=_ms(self.total_s),
                tokens_per_s=(
                    round(decoded / self.decode_ms * 1000, 2)
                    if decoded and self.decode_ms
                    else None
                ),
                decode_ms=round(self.decode_ms, 3),
                first_sentence_ms=(
                    None if self.first_sentence_s is None else _ms(self.first_sentence_s)
                ),
                last_token_ms=None if self.last_s is None else _ms(self.last_s),
            ),
            warnings=tuple(self.warnings),
        )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


@dataclass(slots=True)
class Generator:
    """One request's way to its answer."""

    services: Services
    entry: ModelEntry
    request: Generation
    call: Call
    text: Text
    output: Output
    priority: Priority
    outcome: Outcome = field(default_factory=Outcome)
    lane: Lane | None = None
    """Once the model was loaded."""
    _reported_at: float = 0.0
    _enough: Callable[[], None] = lambda: None
    """Ends the run that goes on."""

    async def run(self) -> Outcome:
        """Generate; the outcome is whole also when the request was stopped on its way."""
        try:
            with self._alarm():
                self.outcome.reason = await self._generate()
        except Stopped as stopped:
            self.outcome.reason = self._reason(stopped.reason)
        await self._tell(self.output.finish(cut_off=self.outcome.reason != "stop"))
        if self.output.is_full and self.outcome.reason == "stop":
            self.outcome.reason = "length"
        if self.output.calls:
            self.outcome.reason = "tool_calls"
        self._warn(*self.output.problems)
        self.outcome.total_s = self._elapsed()
        return self.outcome

    @contextmanager
    def _alarm(self) -> Iterator[None]:
        """End the request when its first token has not come in time, wherever it is then."""
        first_by = self._first_by()
        if first_by is None:
            yield
            return

        def ring() -> None:
            if self.outcome.first_s is None:
                self.call.stop.set(StopReason.DEADLINE)

        alarm = asyncio.get_running_loop().call_at(first_by, ring)
        try:
            yield
        finally:
            alarm.cancel()

    async def _generate(self) -> DoneReason:
        await self.text.gather(self.call)
        self.outcome.queue_s = gathered_s = self._elapsed()
        lane = self.lane = await lane_of(self.services, self.entry, self.call)
        assert lane.model is not None, "a lane is handed out once its model is loaded"
        refuse_what_cannot_be_kept(self.request, lane.model)
        refuse_media(self.text.media, lane.model)
        self.outcome.load_s = self._elapsed() - gathered_s
        while True:
            part = Answer()
            try:
                await self._turn(lane, part)
            finally:
                self._note_caches(part)
            self.outcome.add(part)
            if self.output.is_full:
                return "length"
            if part.reason is StopReason.GIVE_WAY:
                continue
            if isinstance(part.reason, StopReason):
                return self._reason(part.reason)
            return part.reason

    def _note_caches(self, part: Answer) -> None:
        caches, model = self.services.caches, self.entry.name
        for name, reason in part.broken.items():
            caches.found_broken(model, name, reason)
        for name in part.deadly:
            caches.killed_worker(model, name)
        if part.cache is not None:
            caches.used(model, part.cache)

    async def _turn(self, lane: Lane, part: Answer) -> None:
        settings = self.services.config
        now = _now()
        stop, forget = self.call.stop.child()
        self._enough = lambda: stop.set(StopReason.ENOUGH)
        wish = Wish(
            priority=self.priority,
            user=self.call.caller.user,
            connection=self.call.caller.connection_id,
            stop=stop,
            start_by=min(self._first_by() or math.inf, now + settings.queue.wait_s),
            on_waiting=self._on_waiting,
        )
        try:
            await answer(
                lane,
                wish,
                lambda model: self._prepare(lane, model),
                Listener(self._on_text, self._on_prefill, self._forget),
                part,
            )
        except RequestError as error:
            # Where the engine has no tokenizer only a run tells that the prompt is too long.
            if error.code is not Code.CONTEXT_OVERFLOW or not self.text.shorten():
                raise
            self._warn(DROPPED)
            part.reason = StopReason.GIVE_WAY
        except Stopped as stopped:
            if stopped.reason is not StopReason.GIVE_WAY:
                raise
            part.reason = StopReason.GIVE_WAY
        finally:
            forget()

    async def _prepare(self, lane: Lane, model: LoadedModel) -> Job:
        forms = forms_for(self.request, model)
        limits = limits_of(self.request, model, self.services.config)
        if forms and limits.stop:
            limits = replace(limits, stop=())
            self._warn(*[STOPS_DROPPED] * bool(self.request.stop))
        while True:
            text = self.text.render(model)
            prompt = await lane.prompt(text + self.output.raw)
            if prompt.kind == "text" or _fits(prompt, limits, model):
                break
            if not self.text.shorten():
                if prompt.units < model.facts.context_tokens:
                    break  # the answer will be cut short, which its reason says
                raise _overflow(prompt, model)
            self._warn(DROPPED)
        if prompt.kind == "text":
            prompt = prompt.with_media(self.text.media)
        if forms and opens_thinking(text):
            raise _thinks_first(model)
        if not self.output.raw:
            self.output.begin(model, text)
        sampling, warnings = sampling_of(self.request, model, self.services.config)
        self._warn(*warnings)
        if forms:
            sampling = replace(sampling, constraint=Constraint(forms, self.output.raw))
        return Job(
            prompt=prompt,
            sampling=sampling,
            limits=replace(limits, max_tokens=limits.max_tokens - self.outcome.completion_tokens),
            find_stored=lambda: self.text.stored(model, prompt),
            session=getattr(self.request, "session", None),
            cold=self.text.cold,
            first_by=None if self.output.raw else self._first_by(),
            end_by=_now() + self.services.config.queue.run_s,
        )

    async def _on_text(self, piece: str) -> None:
        self.outcome.last_s = self._elapsed()
        if self.outcome.first_s is None:
            self.outcome.first_s = self.outcome.last_s
        await self._tell(self.output.take(piece))
        if self.output.is_full:
            self._enough()

    async def _tell(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Sentence) and self.outcome.first_sentence_s is None:
                self.outcome.first_sentence_s = self._elapsed()
            await self.call.send(event)

    def _forget(self) -> bool:
        if self.output.told:
            return False
        self.output.raw = ""  # it then begins anew
        self.outcome.first_s, self.outcome.completion_tokens = None, 0
        return True

    async def _on_waiting(self, position: int, eta_ms: int | None) -> None:
        await self.call.send(Queued(position, eta_ms))

    async def _on_prefill(self, done: int, total: int) -> None:
        now = _now()
        if done < total and now - self._reported_at >= PROGRESS_SECONDS:
            self._reported_at = now
            await self.call.send(Progress("prefill", done, total))

    def _first_by(self) -> float | None:
        deadline_ms = self.request.deadline_ms
        return None if deadline_ms is None else self.call.arrived + deadline_ms / 1000

    def _reason(self, reason: StopReason) -> DoneReason:
        if reason is StopReason.DEADLINE:
            if self.outcome.first_s is None:
                raise StateError(Code.DEADLINE, "the first token could not come in time")
            return "deadline"
        return "cancelled"

    def _warn(self, *warnings: str) -> None:
        new = [warning for warning in warnings if warning not in self.outcome.warnings]
        self.outcome.warnings += new

    def _elapsed(self) -> float:
        return _now() - self.call.arrived


def refuse_what_cannot_be_kept(request: Generation, model: LoadedModel) -> None:
    """A form that the answer would not keep to makes it wrong, so it is not begun."""
    grammar = model.facts.capabilities.grammar
    choice = getattr(request, "tool_choice", "auto")
    for member, wanted in (
        ("format", request.format is not None),
        ("tool_choice", choice not in {"auto", "none"} if isinstance(choice, str) else True),
    ):
        if wanted and not grammar:
            raise RequestError(
                Code.UNSUPPORTED,
                f"{member}: {model.entry.name} cannot be held to a form: {grammar.reason}",
                member=member,
            )


def refuse_media(media: Mapping[str, Media], model: LoadedModel) -> None:
    """What a model cannot take is refused before anything runs."""
    for kind in sorted({one.kind for one in media.values()}):
        capability = model.facts.capabilities.media(kind)
        if not capability:
            raise RequestError(
                Code.UNSUPPORTED,
                f"messages: {model.entry.name} takes no {kind}: {capability.reason}",
                member="messages",
            )


def forms_for(request: Generation, model: LoadedModel) -> tuple[Form, ...]:
    """What the answer has to look like; nothing where it may be anything."""
    forms = forms_of(
        request.format,
        getattr(request, "tools", ()),
        getattr(request, "tool_choice", "auto"),
        find_family(model.template_source),
    )
    if forms and getattr(request, "thinking", False):
        raise RequestError(
            Code.UNSUPPORTED,
            "thinking: an answer that is held to a form (format, tool_choice) has no thoughts",
            member="thinking",
        )
    return forms


def _thinks_first(model: LoadedModel) -> RequestError:
    return RequestError(
        Code.UNSUPPORTED,
        f"format, tool_choice: {model.entry.name} thinks before every answer, so it cannot be held"
        " to a form",
    )


def limits_of(request: Generation, model: LoadedModel, config: Config) -> Limits:
    """When the answer ends although the model would go on."""
    settings = model.entry.settings
    asked = (request.max_tokens, settings.max_tokens, config.sampling.max_tokens)
    most = next(value for value in asked if value is not None)
    stops = (request.stop,) if isinstance(request.stop, str) else request.stop
    return Limits(most, (*stops, *settings.stop))


def sampling_of(
    request: Generation, model: LoadedModel, config: Config
) -> tuple[Sampling, list[str]]:
    """How tokens are chosen, and what of it the engine cannot do."""
    asked = {name: getattr(request, name) for name in _SAMPLING}
    asked = {name: value for name, value in asked.items() if value is not None}
    settings = {name: getattr(model.entry.settings, name, None) for name in _SAMPLING}
    defaults = {name: getattr(config.sampling, name, None) for name in _SAMPLING}
    known: dict[str, Any] = defaults | {
        name: value for name, value in settings.items() if value is not None
    }
    capabilities, warnings = model.facts.capabilities, []
    if "seed" in asked and not capabilities.seed:
        del asked["seed"]
        warnings.append(f"seed has no effect: {capabilities.seed.reason}")
    if asked and not capabilities.run_sampling:
        names = ", ".join(sorted(asked))
        warnings.append(f"{names} had no effect: {capabilities.run_sampling.reason}")
        asked = {}
    return Sampling(**(known | asked)), warnings


def _fits(prompt: Prompt, limits: Limits, model: LoadedModel) -> bool:
    context = model.facts.context_tokens
    room = min(limits.max_tokens, int(context * ROOM_FOR_ANSWER))
    return prompt.units + max(room, 1) <= context


def _overflow(prompt: Prompt, model: LoadedModel) -> RequestError:
    context = model.facts.context_tokens
    return RequestError(
        Code.CONTEXT_OVERFLOW,
        f"the prompt has {prompt.units} tokens, and the context of {model.entry.name} {context}",
        prompt_tokens=prompt.units,
        context_tokens=context,
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
