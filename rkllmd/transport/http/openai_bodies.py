"""The bodies of OpenAI's endpoints, and the requests that they mean. Pure.

What a body and a request of the socket have in common (sampling, `use_cache`, `priority`, …) is
inherited, so it has one type, one bound and one text. Any optional member may be null; unknown ones
are ignored; what would make the answer a wrong one if it were ignored is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from rkllmd.errors import Code, RequestError
from rkllmd.protocol.messages import (
    NO_ENCODER,
    Chat,
    Complete,
    Embed,
    EmbeddingPart,
    Generation,
    Message,
    Prefill,
    TextPart,
    Tool,
    ToolCall,
)
from rkllmd.shape import Length, Range

SESSION_CHARACTERS_MAX = 256
Mapped = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ImageUrl:
    """Where an image is."""

    url: str
    """`data:application/octet-stream;base64,` and a `.npy` file."""
    detail: str = ""
    """Not used."""


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image, as OpenAI's clients send it."""

    image_url: ImageUrl
    """The image's embeddings."""
    type: Literal["image_url"] = "image_url"
    """There is one kind."""

    def part(self) -> EmbeddingPart:
        """The same on the socket."""
        kind, comma, data = self.image_url.url.partition(",")
        if kind.startswith("data:image/"):
            raise _unsupported("image_url", NO_ENCODER)
        if not comma or not kind.startswith("data:") or not kind.endswith(";base64"):
            raise _unsupported("image_url", "nothing is fetched; send a data: URL in base64")
        return EmbeddingPart("image_embedding", data)


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    """Who says it."""
    content: str | tuple[EmbeddingPart | ImagePart | TextPart, ...] | None = None
    """What is said."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The calls that an assistant made."""
    tool_call_id: str = ""
    """The call that a tool's message answers."""
    name: str = ""
    """The tool's name in a tool's message."""

    def message(self) -> Message:
        """The same on the socket."""
        content = self.content
        if isinstance(content, tuple):
            content = tuple(one.part() if isinstance(one, ImagePart) else one for one in content)
        return Message(self.role, content, self.tool_calls, self.tool_call_id, self.name)


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What a stream has besides."""

    include_usage: bool = False
    """Send the usage at the end, in a chunk of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationBody(Generation):
    """What chat completions and completions have in common."""

    model: str | None = None
    """The model; the default one when absent."""
    stream: bool = False
    """Send the answer as server-sent events while it is being written."""
    stream_options: StreamOptions = StreamOptions()
    """What a stream has besides."""
    seed: Annotated[int, Range(-1, 2**63 - 1)] | None = None
    """The same seed draws the same answer, where the engine can; -1 draws another one each time."""
    n: int = 1
    """How many answers; 1 is what there is."""
    logit_bias: Mapping[str, float] | None = None
    """Not supported."""
    user: str = ""
    """Whose conversation this is; a hint."""
    metadata: Mapping[str, Any] | None = None
    """`session_id` in it is a hint as `user` is, and goes before it."""

    def common(self) -> dict[str, Any]:
        """The members that the socket's requests have too, by their names there."""
        if self.n != 1:
            raise _unsupported("n", "one answer is computed at a time; send the request again")
        if self.logit_bias:
            raise _unsupported("logit_bias", "no engine takes it")
        found: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(Generation)}
        return found | {
            "model": self.model or None,
            "stream": "tokens",
            "seed": None if self.seed == -1 else self.seed,
        }

    def session(self) -> str | None:
        """The session that the client hints at."""
        hint = str((self.metadata or {}).get("session_id") or self.user)
        return hint if 0 < len(hint) <= SESSION_CHARACTERS_MAX else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatBody(GenerationBody):
    """POST /v1/chat/completions."""

    messages: Annotated[tuple[ChatMessage, ...], Length(1, 10_000)]
    """The conversation."""
    max_completion_tokens: Annotated[int, Range(0, 1_048_576)] | None = None
    """As max_tokens, which it goes before."""
    tools: Annotated[tuple[Tool, ...], Length(0, 128)] = ()
    """Functions that the model may call."""
    tool_choice: Literal["none", "auto", "required"] | Mapping[str, Any] = "auto"
    """Whether a tool may, must or must not be called, or which one."""
    response_format: Mapping[str, Any] | None = None
    """`json_schema` or `json_object`, where the engine can be held to it."""
    logprobs: bool = False
    """Not supported."""
    language: Annotated[str, Length(2, 35)] | None = None
    """The language that is spoken, as a BCP 47 tag."""
    enable_thinking: bool = False
    """Let the model think first; its thoughts come as `reasoning_content`."""
    chat_template_kwargs: Mapping[str, Any] | None = None
    """`enable_thinking` may stand here too."""

    def request(self) -> Chat | Prefill:
        """The same on the socket; without a token to generate it is a prefill."""
        if self.logprobs:
            raise _unsupported("logprobs", "no engine gives them")
        wanted = wanted_format(self.response_format)
        found = self.common() | {
            "messages": tuple(message.message() for message in self.messages),
            "session": self.session(),
            "tools": self.tools,
            "tool_choice": self.tool_choice,
            "language": self.language,
            "thinking": self.thinks(),
            "format": self.format if wanted is None else wanted,
        }
        if self.max_completion_tokens is not None:
            found["max_tokens"] = self.max_completion_tokens
        return Prefill(**found) if found["max_tokens"] == 0 else Chat(**found)

    def thinks(self) -> bool:
        """Whether the model is to think."""
        return (
            self.enable_thinking or (self.chat_template_kwargs or {}).get("enable_thinking") is True
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionBody(GenerationBody):
    """POST /v1/completions."""

    prompt: str | Annotated[tuple[str, ...], Length(1, 1)]
    """The text to go on with; a list has one text."""
    logprobs: int | None = None
    """Not supported."""
    echo: bool = False
    """Not supported."""
    suffix: str | None = None
    """Not supported."""
    best_of: int = 1
    """1 is what there is."""

    def request(self) -> Complete:
        """The same on the socket."""
        for name in ("logprobs", "echo", "suffix"):
            if getattr(self, name):
                raise _unsupported(name, "no engine can do it")
        if self.best_of != 1:
            raise _unsupported("best_of", "one answer is computed at a time")
        prompt = self.prompt if isinstance(self.prompt, str) else self.prompt[0]
        return Complete(**self.common(), prompt=prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingBody:
    """POST /v1/embeddings."""

    input: (
        Annotated[str, Length(1)]
        | Annotated[tuple[Annotated[str, Length(1)], ...], Length(1, 2048)]
    )
    """A text or a list of texts."""
    model: str | None = None
    """The model; the default one when absent."""
    encoding_format: Literal["float", "base64"] = "float"
    """Numbers, or their bytes (32-bit, little-endian) in base64."""
    dimensions: int | None = None
    """The model's own size is what there is."""

    def request(self) -> Embed:
        """The same on the socket."""
        return Embed(self.input, self.model or None)


def wanted_format(found: Mapped | None) -> Mapped | Literal["json"] | None:
    """What `response_format` asks for."""
    match found:
        case None | {"type": "text"}:
            return None
        case {"type": "json_schema", "json_schema": {"schema": Mapping() as schema}}:
            return schema
        case {"type": "json_object", "schema": Mapping() as schema} if schema:  # llama.cpp's way
            return schema
        case {"type": "json_object"}:
            return "json"
        case _:
            raise RequestError(
                Code.BAD_REQUEST,
                "response_format: allowed: type `text`, `json_object`, or `json_schema` with "
                "`json_schema.schema`",
                member="response_format",
            )


def _unsupported(member: str, why: str) -> RequestError:
    return RequestError(Code.UNSUPPORTED, f"{member} is not supported: {why}", member=member)
