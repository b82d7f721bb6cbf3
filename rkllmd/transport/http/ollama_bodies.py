"""The bodies of Ollama's endpoints, and the requests that they mean. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from rkllmd.errors import Code, RequestError
from rkllmd.protocol.messages import (
    NO_ENCODER,
    CalledFunction,
    Chat,
    Complete,
    Embed,
    Message,
    Tool,
    ToolCall,
)
from rkllmd.shape import Length, Range

TAG = ":latest"


@dataclass(frozen=True, slots=True)
class Options:
    """How the answer is chosen."""

    temperature: Annotated[float, Range(0, 5)] | None = None
    """0 always takes the likeliest token."""
    top_k: Annotated[int, Range(0, 1_000_000)] | None = None
    """Only this many likeliest tokens are drawn from; 0 is all."""
    top_p: Annotated[float, Range(0, 1)] | None = None
    """Only the likeliest tokens that make up this share are drawn from."""
    repeat_penalty: Annotated[float, Range(0.01, 10)] | None = None
    """Above 1, tokens that were seen lately become less likely."""
    frequency_penalty: Annotated[float, Range(-2, 2)] | None = None
    """Taken off a token's logit for each time it was generated."""
    presence_penalty: Annotated[float, Range(-2, 2)] | None = None
    """Taken off a token's logit once it was generated."""
    seed: Annotated[int, Range(-1, 2**63 - 1)] | None = None
    """The same seed draws the same answer, where the engine can; -1 draws another one each time."""
    num_predict: Annotated[int, Range(-2, 1_048_576)] | None = None
    """The longest answer in tokens; below 0 it is what the configuration says."""
    stop: tuple[Annotated[str, Length(1, 256)], ...] | Annotated[str, Length(1, 256)] = ()
    """Texts that end the answer and are not part of it."""

    def sampled(self) -> dict[str, Any]:
        """The same on the socket."""
        found = {
            name: getattr(self, name)
            for name in (
                "temperature", "top_k", "top_p", "repeat_penalty", "frequency_penalty",
                "presence_penalty", "stop",
            )
        }  # fmt: skip
        few = self.num_predict is not None and self.num_predict < 0
        return found | {
            "max_tokens": None if few else self.num_predict,
            "seed": None if self.seed == -1 else self.seed,
        }


@dataclass(frozen=True, slots=True)
class Called:
    """A call that an assistant made."""

    function: CalledFunction
    """The call."""


@dataclass(frozen=True, slots=True)
class OllamaMessage:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    """Who says it."""
    content: str = ""
    """What is said."""
    images: tuple[str, ...] = ()
    """Not supported."""
    tool_calls: tuple[Called, ...] = ()
    """The calls that an assistant made."""
    tool_name: str = ""
    """The tool's name in a tool's message."""

    def message(self) -> Message:
        """The same on the socket."""
        if self.images:
            raise _unsupported("images")
        calls = tuple(ToolCall(one.function) for one in self.tool_calls)
        return Message(self.role, self.content, calls, name=self.tool_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class OllamaBody:
    """What `chat` and `generate` have in common."""

    model: str = ""
    """The model; the default one when absent."""
    stream: bool = True
    """Send the answer as a JSON line for each piece, while it is being written."""
    format: Mapping[str, Any] | str | None = None
    """A JSON Schema that the answer has to fit, or `json`, where the engine can be held to it."""
    options: Options = Options()
    """How the answer is chosen."""
    think: bool | Literal["low", "medium", "high"] = False
    """Let the model think first; its thoughts come as `thinking`."""
    keep_alive: str | float | None = None
    """0 with nothing to answer unloads the model; otherwise the configuration decides."""
    logprobs: bool = False
    """Not supported."""

    def common(self) -> dict[str, Any]:
        """The members that the socket's requests have too, by their names there."""
        if self.logprobs:
            raise _unsupported("logprobs")
        return self.options.sampled() | {
            "model": plain_name(self.model),
            "stream": "tokens",
            "format": self._format(),
        }

    def unloads(self) -> bool:
        """Whether the model is to be let go of at once."""
        if isinstance(self.keep_alive, str):
            return self.keep_alive in {"0", "0s", "0m"}
        return self.keep_alive == 0

    def _format(self) -> Mapping[str, Any] | Literal["json"] | None:
        match self.format:
            case None | "":
                return None
            case "json":
                return "json"
            case str(other):
                raise RequestError(
                    Code.BAD_REQUEST,
                    f"format: found {other[:60]!r}, allowed: json or a JSON Schema",
                    member="format",
                )
            case schema:
                return schema


@dataclass(frozen=True, slots=True, kw_only=True)
class OllamaChatBody(OllamaBody):
    """POST /api/chat."""

    messages: Annotated[tuple[OllamaMessage, ...], Length(0, 10_000)] = ()
    """The conversation; nothing loads the model."""
    tools: Annotated[tuple[Tool, ...], Length(0, 128)] = ()
    """Functions that the model may call."""

    def request(self) -> Chat | None:
        """The same on the socket; None when there is nothing to answer."""
        if not self.messages:
            return None
        return Chat(
            **self.common(),
            messages=tuple(message.message() for message in self.messages),
            tools=self.tools,
            thinking=bool(self.think),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateBody(OllamaBody):
    """POST /api/generate."""

    prompt: str = ""
    """What is asked; nothing loads the model."""
    system: str = ""
    """A system prompt of the client's own."""
    raw: bool = False
    """Go on with the prompt as it is, without a chat template."""
    suffix: str = ""
    """Not supported."""
    images: tuple[str, ...] = ()
    """Not supported."""

    def request(self) -> Chat | Complete | None:
        """The same on the socket; None when there is nothing to answer."""
        for name in ("images", "suffix"):
            if getattr(self, name):
                raise _unsupported(name)
        if not self.prompt:
            return None
        if self.raw:
            return Complete(**self.common(), prompt=self.prompt)
        return Chat(
            **self.common(),
            messages=(Message("user", self.prompt),),
            system=self.system or None,
            thinking=bool(self.think),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OllamaEmbedBody:
    """POST /api/embed."""

    input: Annotated[tuple[str, ...], Length(1, 2048)] | str
    """A text or a list of texts."""
    model: str = ""
    """The model; the default one when absent."""
    dimensions: int | None = None
    """The model's own size is what there is."""

    def request(self) -> Embed:
        """The same on the socket."""
        return Embed(self.input, plain_name(self.model))


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedBody:
    """POST /api/show and /api/pull."""

    model: str = ""
    """Which model."""
    name: str = ""
    """The same as `model`."""
    stream: bool = True
    """Answer with JSON lines."""

    @property
    def wanted(self) -> str | None:
        """The model, by whichever name."""
        return plain_name(self.model or self.name)


def plain_name(name: str) -> str | None:
    """A model's name without the tag that Ollama's clients put behind it; None for the default."""
    return name.removesuffix(TAG) or None


def _unsupported(member: str) -> RequestError:
    why = f": {NO_ENCODER}" if member == "images" else ""
    return RequestError(Code.UNSUPPORTED, f"{member}: not supported{why}", member=member)
