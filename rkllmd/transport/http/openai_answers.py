"""The answers of OpenAI's endpoints: whole ones, and the chunks of a stream. Pure.

Both kinds of answer have the same parts: `whole` is the plain answer; of a stream, `first` goes
before all else, `delta` is what an event becomes, `filler` says nothing at any time, and `last`
ends it. A stream of chat completions is, in order: the role alone; deltas; each tool call whole in
a chunk of its own; an empty delta with the finish reason and `timings`; the usage without choices,
where it was asked for; `[DONE]`.
"""

import secrets
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from rkllmd.errors import RkllmdError
from rkllmd.protocol.codec import to_json
from rkllmd.protocol.messages import Delta, Done, Event, ToolCalled
from rkllmd.transport.http.answers import Answer
from rkllmd.transport.http.errors import body_of
from rkllmd.transport.http.openai_shapes import MadeCall, Timings, TokenUsage

FINISH_REASONS = {"cancelled": "stop", "deadline": "length"}
"""OpenAI's words for ours, where they differ."""

Json = dict[str, Any]


class OpenAiAnswer(Answer):
    """What chat completions and completions have in common."""

    prefix: str
    """Of the answer's id."""
    kind: str
    """`object` of a plain answer."""
    chunk_kind: str
    """`object` of a chunk."""

    def __init__(self, model: str, *, with_usage: bool) -> None:
        super().__init__(model)
        self._with_usage = with_usage
        self._id = f"{self.prefix}-{secrets.token_hex(12)}"
        self._created = int(time.time())
        self._has_begun = False

    def whole(self, done: Done) -> Json:
        """The plain answer."""
        choice = {"index": 0, **self.said(done), "logprobs": None, "finish_reason": _reason(done)}
        return self._frame(self.kind, done.model) | {
            "choices": [choice],
            "usage": usage(done),
            "timings": timings(done),
            **_warnings(done),
        }

    def chunks(self, event: Event) -> Iterator[bytes]:
        """What an event becomes."""
        delta = self.delta(event)
        if delta is not None:
            yield from self._begin()
            yield self._chunk(delta)

    def filler(self) -> bytes:
        """A chunk that says nothing."""
        return b"".join(self._begin()) or self._chunk(self.empty())

    def last(self, done: Done) -> Iterator[bytes]:
        """The end of the stream."""
        yield from self._begin()
        yield self._chunk(self.empty(), _reason(done), timings=timings(done), **_warnings(done))
        if self._with_usage:
            frame = self._frame(self.chunk_kind, self.model)
            yield sse(frame | {"choices": [], "usage": usage(done), "timings": timings(done)})
        yield b"data: [DONE]\n\n"

    def broken_off(self, error: RkllmdError) -> bytes:
        """The error in the place of a chunk."""
        return sse(body_of(error))

    # What differs.

    @abstractmethod
    def said(self, done: Done) -> Json:
        """The answer in its choice."""

    @abstractmethod
    def first(self) -> Json | None:
        """What goes before everything else."""

    @abstractmethod
    def empty(self) -> Json:
        """A piece that says nothing."""

    @abstractmethod
    def delta(self, event: Event) -> Json | None:
        """The piece that an event is."""

    def _begin(self) -> Iterator[bytes]:
        first, had_begun = self.first(), self._has_begun
        self._has_begun = True
        if first is not None and not had_begun:
            yield self._chunk(first)

    def _chunk(self, piece: Json, reason: str | None = None, **besides: Any) -> bytes:
        choice = {"index": 0, **piece, "logprobs": None, "finish_reason": reason}
        return sse(self._frame(self.chunk_kind, self.model) | {"choices": [choice]} | besides)

    def _frame(self, kind: str, model: str) -> Json:
        return {"id": self._id, "object": kind, "created": self._created, "model": model}


class ChatAnswer(OpenAiAnswer):
    """Of chat completions."""

    prefix = "chatcmpl"
    kind = "chat.completion"
    chunk_kind = "chat.completion.chunk"

    def said(self, done: Done) -> Json:
        """The answer in its choice."""
        message: Json = {"role": "assistant", "content": done.text}
        if self.thoughts:
            message["reasoning_content"] = self.thoughts
        if self.calls:
            message["content"] = done.text or None
            message["tool_calls"] = [tool_call(call) for call in self.calls]
        return {"message": message}

    def first(self) -> Json:
        """The role alone."""
        return {"delta": {"role": "assistant", "content": ""}}

    def empty(self) -> Json:
        """An empty delta."""
        return {"delta": {}}

    def delta(self, event: Event) -> Json | None:
        """Text, a thought or a tool call."""
        match event:
            case Delta(text, "thinking"):
                return {"delta": {"reasoning_content": text}}
            case Delta(text):
                return {"delta": {"content": text}}
            case ToolCalled():
                self.calls.append(event)
                call = {"index": len(self.calls) - 1, **tool_call(event)}
                return {"delta": {"tool_calls": [call]}}
            case _:
                return None


class CompletionAnswer(OpenAiAnswer):
    """Of completions."""

    prefix = "cmpl"
    kind = chunk_kind = "text_completion"

    def said(self, done: Done) -> Json:
        """The text."""
        return {"text": done.text}

    def first(self) -> None:
        """Nothing."""

    def empty(self) -> Json:
        """No text."""
        return {"text": ""}

    def delta(self, event: Event) -> Json | None:
        """Text."""
        return {"text": event.text} if isinstance(event, Delta) else None


def tool_call(call: ToolCalled) -> MadeCall:
    """A tool call, its arguments as JSON in a text."""
    return {
        "id": call.call_id,
        "type": "function",
        "function": {"name": call.name, "arguments": to_json(call.arguments)},
    }


def usage(done: Done) -> TokenUsage:
    """Tokens."""
    found = done.usage
    return {
        "prompt_tokens": found.prompt_tokens,
        "completion_tokens": found.completion_tokens,
        "total_tokens": found.prompt_tokens + found.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": found.cached_tokens},
        "cache_hit": found.cache_hit,
        "cached_prompts": list(found.cached_prompts),
    }


def timings(done: Done) -> Timings:
    """Times, as llama.cpp writes them."""
    prefilled = done.usage.prompt_tokens - done.usage.cached_tokens
    return {
        "cache_n": done.usage.cached_tokens,
        "prompt_n": prefilled,
        "prompt_ms": done.timing.prefill_ms,
        "prompt_per_second": _per_second(prefilled, done.timing.prefill_ms),
        "predicted_n": done.usage.completion_tokens,
        "predicted_ms": done.timing.decode_ms,
        "predicted_per_second": done.timing.tokens_per_s or 0.0,
    }


def sse(data: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return f"data: {to_json(data)}\n\n".encode(errors="replace")


def _per_second(count: int, milliseconds: float) -> float:
    return round(count / milliseconds * 1000, 2) if milliseconds else 0.0


def _reason(done: Done) -> str:
    return FINISH_REASONS.get(done.reason, done.reason)


def _warnings(done: Done) -> Json:
    return {"warnings": list(done.warnings)} if done.warnings else {}
