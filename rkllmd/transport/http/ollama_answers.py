"""The answers of Ollama's endpoints: their types, of which the document is made, and lines. Pure.

A stream is a JSON line for each piece; the last one has the numbers. Durations are in nanoseconds.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NotRequired, TypedDict

from rkllmd.errors import RkllmdError
from rkllmd.protocol.codec import to_json
from rkllmd.protocol.messages import Delta, Done, Event, ToolCalled
from rkllmd.transport.http.answers import Answer

NS_OF_MS = 1_000_000
FOREVER = "9999-12-31T23:59:59Z"

Json = dict[str, Any]


class Version(TypedDict):
    """The version of Ollama that is answered like, and our own."""

    version: str
    rkllmd: str


class Details(TypedDict):
    """What kind of model it is."""

    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class TaggedModel(TypedDict):
    """A model."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: Details


class RunningModel(TaggedModel):
    """A model that is loaded."""

    expires_at: str
    size_vram: int
    context_length: int


class TaggedModels(TypedDict):
    """The models."""

    models: list[TaggedModel]


class RunningModels(TypedDict):
    """The models that are loaded."""

    models: list[RunningModel]


class ModelInfo(TypedDict):
    """One model, closely."""

    modelfile: str
    parameters: str
    template: str
    details: Details
    model_info: Mapping[str, Any]
    capabilities: list[str]
    modified_at: str


class OllamaEmbeddings(TypedDict):
    """Vectors of texts."""

    model: str
    embeddings: list[list[float]]
    prompt_eval_count: int


class Pulled(TypedDict):
    """That a model is here."""

    status: Literal["success"]


class WrittenFunction(TypedDict):
    """A tool's name and the arguments."""

    name: str
    arguments: Mapping[str, Any]


class WrittenCall(TypedDict):
    """A tool call."""

    function: WrittenFunction


class OllamaSaid(TypedDict):
    """An assistant's message, or a piece of it."""

    role: Literal["assistant"]
    content: str
    thinking: NotRequired[str]
    tool_calls: NotRequired[list[WrittenCall]]


class Line(TypedDict):
    """What each line has; all but the first three are in the last one only."""

    model: str
    created_at: str
    done: bool
    done_reason: NotRequired[Literal["stop", "length", "load", "unload"]]
    total_duration: NotRequired[int]
    load_duration: NotRequired[int]
    prompt_eval_count: NotRequired[int]
    prompt_eval_duration: NotRequired[int]
    eval_count: NotRequired[int]
    eval_duration: NotRequired[int]
    cached_tokens: NotRequired[int]
    cache_hit: NotRequired[bool]


class ChatLine(Line):
    """A line of a chat, or the whole of it."""

    message: OllamaSaid


class GenerateLine(Line):
    """A line of an answer to a prompt, or the whole of it."""

    response: str
    thinking: NotRequired[str]


class GenerateAnswer(Answer):
    """The lines of `generate`."""

    def whole(self, done: Done) -> Json:
        """The whole answer."""
        return self._end(done, self.said(done.text, self.thoughts, self.calls))

    def chunks(self, event: Event) -> Iterator[bytes]:
        """The line that an event is."""
        match event:
            case Delta(text, "thinking"):
                yield self._piece(self.said(thoughts=text))
            case Delta(text):
                yield self._piece(self.said(text))
            case ToolCalled():
                yield self._piece(self.said(calls=[event]))
            case _:
                pass

    def filler(self) -> bytes:
        """A line that says nothing."""
        return self._piece(self.said())

    def last(self, done: Done) -> Iterator[bytes]:
        """The line with the numbers."""
        yield line(self._end(done, self.said()))

    def broken_off(self, error: RkllmdError) -> bytes:
        """The error in a line of its own."""
        return line({"error": error.message})

    def over(self, reason: str, said: Json | None = None) -> Json:
        """The end, and why it is one."""
        return self._frame() | (said or self.said()) | {"done": True, "done_reason": reason}

    def said(self, text: str = "", thoughts: str = "", calls: Sequence[ToolCalled] = ()) -> Json:
        """The members that say something."""
        return {"response": text, **({"thinking": thoughts} if thoughts else {})}

    def _piece(self, said: Json) -> bytes:
        return line(self._frame() | said | {"done": False})

    def _end(self, done: Done, said: Json) -> Json:
        timing, usage = done.timing, done.usage
        return self.over("length" if done.reason in {"length", "deadline"} else "stop", said) | {
            "total_duration": _ns(timing.total_ms),
            "load_duration": _ns(timing.load_ms),
            "prompt_eval_count": usage.prompt_tokens,
            "prompt_eval_duration": _ns(timing.prefill_ms),
            "eval_count": usage.completion_tokens,
            "eval_duration": _ns(timing.decode_ms),
            "cached_tokens": usage.cached_tokens,
            "cache_hit": usage.cache_hit,
        }

    def _frame(self) -> Json:
        return {"model": self.model, "created_at": moment(datetime.now(UTC).timestamp())}


class ChatAnswer(GenerateAnswer):
    """The lines of `chat`."""

    def said(self, text: str = "", thoughts: str = "", calls: Sequence[ToolCalled] = ()) -> Json:
        """The members that say something."""
        said: OllamaSaid = {"role": "assistant", "content": text}
        if thoughts:
            said["thinking"] = thoughts
        if calls:
            said["tool_calls"] = [
                {"function": {"name": call.name, "arguments": dict(call.arguments)}}
                for call in calls
            ]
        return {"message": said}


def tagged(found: Mapping[str, Any]) -> TaggedModel:
    """A model."""
    return {
        "name": found["name"],
        "model": found["name"],
        "modified_at": moment(found["modified_at"]),
        "size": found["size"],
        "digest": found["digest"],
        "details": details(found),
    }


def running(found: Mapping[str, Any]) -> RunningModel:
    """A model that is loaded."""
    return {
        **tagged(found),
        "expires_at": FOREVER,
        "size_vram": found["memory"] or 0,
        "context_length": found["context"] or 0,
    }


def details(found: Mapping[str, Any]) -> Details:
    """What kind of model it is."""
    family = found["architecture"] or found["engine"] or ""
    return {
        "parent_model": "",
        "format": found["file"].rpartition(".")[2],
        "family": family,
        "families": [family],
        "parameter_size": _parameter_size(found["parameters"] or 0),
        "quantization_level": "",
    }


def line(data: Mapping[str, Any]) -> bytes:
    """One line."""
    return f"{to_json(data)}\n".encode(errors="replace")


def moment(seconds: float) -> str:
    """A time, as Ollama writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _parameter_size(count: int) -> str:
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return ""


def _ns(milliseconds: float) -> int:
    return round(milliseconds * NS_OF_MS)
