"""What can be said on the socket: a dataclass for each operation's request and for each event.

The fields are the wire's members by the same names. `codec.py` turns lines into these and back,
`schema.py` makes the JSON Schema that `help` returns from the same tables. Members that are
absent or null take the default; unknown ones are ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from rkllmd.errors import Code
from rkllmd.ids import NAME_RULE
from rkllmd.shape import Length, Pattern, Range

Name = Annotated[str, Pattern(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", NAME_RULE)]
Session = Annotated[str, Length(1, 256)]
Text = str
Priority = Literal["voice", "normal", "background"]
StreamMode = Literal["sentences", "tokens", "both", False, True]
"""`true` is taken for `both`."""
WatchKind = Literal["state", "model", "cache", "queue", "thermal", "log"]
LogLevelName = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class ToolFunction:
    """What a tool does and takes."""

    name: Annotated[str, Length(1, 64)]
    """The name that the model calls it by."""
    description: str = ""
    """What it does, for the model."""
    parameters: Mapping[str, Any] | None = None
    """Its arguments, as a JSON Schema of an object."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call."""

    function: ToolFunction
    """The function."""
    type: Literal["function"] = "function"
    """There is one kind."""


@dataclass(frozen=True, slots=True)
class CalledFunction:
    """What was called with what."""

    name: Annotated[str, Length(1, 64)]
    """The tool's name."""
    arguments: Mapping[str, Any] | str = ""
    """Its arguments, as an object or as JSON in a text."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that an assistant message made."""

    function: CalledFunction
    """The call."""
    id: str = ""
    """What the tool's answer refers to."""
    type: Literal["function"] = "function"
    """There is one kind."""


@dataclass(frozen=True, slots=True)
class TextPart:
    """A piece of a message's content."""

    text: str
    """The text."""
    type: Literal["text"] = "text"
    """There is one kind."""


NO_ENCODER = (
    "the vision encoder is not part of the daemon; send what it made of the picture, a .npy file of"
    " float32, as an `image_embedding`"
)
"""Why a picture is refused."""


@dataclass(frozen=True, slots=True)
class EmbeddingPart:
    """An image or a sound, as what the model's own encoder made of it, in a user's message."""

    type: Literal["image_embedding", "audio_embedding"]
    """Which of them."""
    data: str | None = field(default=None, repr=False)
    """A `.npy` file of float32, rows by width, in base64."""
    path: Annotated[str, Length(1, 4095)] | None = None
    """Such a file's path, on the Unix socket; it is the client's own or everybody may read it."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    """Who says it."""
    content: str | tuple[EmbeddingPart | TextPart, ...] | None = None
    """What is said."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The calls that an assistant made."""
    call_id: str = ""
    """The call that a tool's message answers."""
    name: str = ""
    """The tool's name in a tool's message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What `chat` and `complete` have in common."""

    model: Name | None = None
    """The model; the default one when absent."""
    use_cache: Name | bool = True
    """A cache's name, or false for none; true lets the daemon choose."""
    max_tokens: Annotated[int, Range(0, 1_048_576)] | None = None
    """The longest answer in tokens; 0 prefills only."""
    temperature: Annotated[float, Range(0, 5)] | None = None
    """0 always takes the likeliest token."""
    top_p: Annotated[float, Range(0, 1)] | None = None
    """Only the likeliest tokens that make up this share are drawn from."""
    top_k: Annotated[int, Range(0, 1_000_000)] | None = None
    """Only this many likeliest tokens are drawn from; 0 is all."""
    repeat_penalty: Annotated[float, Range(0.01, 10)] | None = None
    """Above 1, tokens that were seen lately become less likely."""
    frequency_penalty: Annotated[float, Range(-2, 2)] | None = None
    """Taken off a token's logit for each time it was generated."""
    presence_penalty: Annotated[float, Range(-2, 2)] | None = None
    """Taken off a token's logit once it was generated."""
    seed: Annotated[int, Range(0, 2**63 - 1)] | None = None
    """The same seed draws the same answer, where the engine can."""
    stop: tuple[Annotated[str, Length(1, 256)], ...] | Annotated[str, Length(1, 256)] = ()
    """A text or texts that end the answer and are not part of it."""
    stream: StreamMode = "both"
    """Whether the answer comes as `delta` lines, `sentence` lines, both, or only in `done`."""
    speech: bool | None = None
    """Cut and clean deltas for speaking."""
    max_sentences: Annotated[int, Range(1, 1000)] | None = None
    """End the answer behind so many whole sentences, and stop the engine there."""
    priority: Priority = "normal"
    """`voice` goes first, `background` last; the others interrupt it."""
    deadline_ms: Annotated[int, Range(1, 86_400_000)] | None = None
    """The first token must be there by then."""
    format: Mapping[str, Any] | Literal["json"] | None = None
    """A JSON Schema that the answer has to fit, or `json` for any object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation(Generation):
    """What `chat` and `prefill` have in common."""

    text: Text | None = None
    """The user's turn; short for one user message."""
    messages: Annotated[tuple[Message, ...], Length(0, 10_000)] | None = None
    """The conversation; with a session they replace its history."""
    session: Session | None = None
    """A conversation that the daemon remembers."""
    system: Text | None = None
    """A system prompt of the client's own."""
    tools: Annotated[tuple[Tool, ...], Length(0, 128)] = ()
    """Functions that the model may call."""
    tool_choice: Literal["none", "auto", "required"] | Mapping[str, Any] = "auto"
    """Whether a tool may, must or must not be called, or which one."""
    language: Annotated[str, Length(2, 35)] | None = None
    """The language that is spoken, as a BCP 47 tag; the model is asked to answer in it."""
    thinking: bool = False
    """Let the model think aloud, on the `thinking` channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat(Conversation):
    """Answer a conversation."""

    op: ClassVar[str] = "chat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefill(Conversation):
    """Compute what a coming `chat` will need, and say nothing."""

    op: ClassVar[str] = "prefill"


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete(Generation):
    """Go on with a text, without a chat template."""

    op: ClassVar[str] = "complete"
    prompt: Text
    """The text to go on with."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """End requests: one of this connection, all of a session, or all of this connection."""

    op: ClassVar[str] = "cancel"
    target: Any = None
    """The id of a request on this connection."""
    session: Session | None = None
    """A session, whoever speaks in it."""
    all: bool = False
    """Everything of this connection."""


@dataclass(frozen=True, slots=True)
class Embed:
    """Vectors of texts."""

    op: ClassVar[str] = "embed"
    input: Annotated[tuple[str, ...], Length(1, 2048)] | str
    """A text or a list of texts."""
    model: Name | None = None
    """The model; the default one when absent."""
    pooling: Literal["last", "mean", "cls"] = "mean"
    """How a text's token vectors become one."""
    normalize: bool = True
    """Scale to length 1."""


@dataclass(frozen=True, slots=True)
class Tokenize:
    """A text's tokens."""

    op: ClassVar[str] = "tokenize"
    text: Text
    """The text."""
    model: Name | None = None
    """The model; the default one when absent."""


@dataclass(frozen=True, slots=True)
class Logits:
    """What may follow a text, before any sampling; to compare models and conversions by."""

    op: ClassVar[str] = "logits"
    prompt: Text
    """The text, short and without a chat template."""
    model: Name | None = None
    """The model; the default one when absent."""
    top: Annotated[int, Range(1, 1_048_576)] = 20
    """How many of the likeliest tokens are told."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Who are you."""

    op: ClassVar[str] = "hello"


@dataclass(frozen=True, slots=True)
class Help:
    """The schema of requests and events."""

    op: ClassVar[str] = "help"
    about: Annotated[str, Length(1, 64)] | None = None
    """One operation; all when absent."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there."""

    op: ClassVar[str] = "ping"


@dataclass(frozen=True, slots=True)
class Status:
    """How are you."""

    op: ClassVar[str] = "status"


@dataclass(frozen=True, slots=True)
class Reload:
    """Read the configuration and the prompts again."""

    op: ClassVar[str] = "reload"


@dataclass(frozen=True, slots=True)
class LogLevel:
    """What is written to the journal, until a reload or restart; shown when it is not set."""

    op: ClassVar[str] = "log.level"
    level: LogLevelName | None = None
    """The least important lines that are written."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Tell what happens until cancelled."""

    op: ClassVar[str] = "watch"
    kinds: tuple[WatchKind, ...] = ()
    """What is wanted; everything when empty."""
    level: LogLevelName = "warning"
    """The least important lines of the log."""


@dataclass(frozen=True, slots=True)
class SessionList:
    """The sessions."""

    op: ClassVar[str] = "session.list"


@dataclass(frozen=True, slots=True)
class SessionShow:
    """One session with its history."""

    op: ClassVar[str] = "session.show"
    session: Session
    """Which."""


@dataclass(frozen=True, slots=True)
class SessionReset:
    """Forget a session."""

    op: ClassVar[str] = "session.reset"
    session: Session
    """Which."""


@dataclass(frozen=True, slots=True)
class SessionTruncate:
    """Cut the last answer in the history to what was heard."""

    op: ClassVar[str] = "session.truncate"
    session: Session
    """Which."""
    spoken: str | None = None
    """The text that was spoken."""
    chars: Annotated[int, Range(0, 1 << 30)] | None = None
    """How many characters were spoken."""


@dataclass(frozen=True, slots=True)
class ModelList:
    """The models."""

    op: ClassVar[str] = "model.list"


@dataclass(frozen=True, slots=True)
class ModelShow:
    """One model, or all of them."""

    op: ClassVar[str] = "model.show"
    model: Name | None = None
    """Which; all when absent."""


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """Load a model."""

    op: ClassVar[str] = "model.load"
    model: Name
    """Which."""


@dataclass(frozen=True, slots=True)
class ModelUnload:
    """Unload a model."""

    op: ClassVar[str] = "model.unload"
    model: Name
    """Which."""


@dataclass(frozen=True, slots=True)
class CacheList:
    """The cache entries."""

    op: ClassVar[str] = "cache.list"
    model: Name | None = None
    """Of one model; of all when absent."""


@dataclass(frozen=True, slots=True)
class CacheShow:
    """Cache entries with everything that is known of them."""

    op: ClassVar[str] = "cache.show"
    model: Name | None = None
    """Of one model; of all when absent."""
    name: Name | None = None
    """One entry; all when absent."""


@dataclass(frozen=True, slots=True)
class CacheCreate:
    """Make a prompt and build its cache."""

    op: ClassVar[str] = "cache.create"
    model: Name
    """For which model."""
    name: Name
    """Its name."""
    prompt: Annotated[str, Length(1, 1 << 20)]
    """Its text."""
    overwrite: bool = False
    """Replace one of the same name."""


@dataclass(frozen=True, slots=True)
class CacheBuild:
    """Build caches from their prompts' texts."""

    op: ClassVar[str] = "cache.build"
    model: Name
    """For which model."""
    name: Name | None = None
    """One entry; all when absent."""
    force: bool = False
    """Also those that are good."""


@dataclass(frozen=True, slots=True)
class CacheDelete:
    """Delete a cache, and its prompt when it was made through the API."""

    op: ClassVar[str] = "cache.delete"
    model: Name
    """Of which model."""
    name: Name
    """Which."""


@dataclass(frozen=True, slots=True)
class CacheVerify:
    """Prove caches again."""

    op: ClassVar[str] = "cache.verify"
    model: Name | None = None
    """Of one model; of all when absent."""
    name: Name | None = None
    """One entry; all when absent."""


Request = (
    Hello | Help | Ping | Status | Reload | LogLevel | Watch | Chat | Complete | Prefill | Cancel |
    Embed | Tokenize | Logits | SessionList | SessionShow | SessionReset | SessionTruncate |
    ModelList | ModelShow | ModelLoad | ModelUnload | CacheList | CacheShow | CacheCreate |
    CacheBuild | CacheDelete | CacheVerify
)  # fmt: skip

NEEDS_ONE_OF: Mapping[type[Request], tuple[str, ...]] = {
    Chat: ("text", "messages"),
    Cancel: ("target", "session", "all"),
    SessionTruncate: ("spoken", "chars"),
}
"""Members of which a request has to have at least one."""


@dataclass(frozen=True, slots=True)
class Queued:
    """The request waits."""

    event: ClassVar[str] = "queued"
    position: int
    """How many go before it."""
    eta_ms: int | None = None
    """The expected wait, once speeds are known."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Something long goes on."""

    event: ClassVar[str] = "progress"
    phase: Literal["load", "prefill", "build"]
    """What goes on."""
    done: int
    """How much of it is done."""
    total: int
    """How much there is; 0 when unknown."""
    eta_ms: int | None = None
    """The expected rest, once speeds are known."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer, in whole characters."""

    event: ClassVar[str] = "delta"
    text: str
    """The piece."""
    channel: Literal["thinking"] | None = None
    """Absent for the answer itself."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A whole sentence of the answer, ready to be spoken."""

    event: ClassVar[str] = "sentence"
    n: int
    """Counted from 0."""
    text: str
    """Trimmed and free of Markdown."""
    language: str | None = None
    """The language it is in, when known."""


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """The model wants a tool called."""

    event: ClassVar[str] = "tool_call"
    call_id: str
    """What the tool's answer has to name."""
    name: str
    """The tool."""
    arguments: Mapping[str, Any]
    """Its arguments."""


DoneReason = Literal["stop", "length", "tool_calls", "cancelled", "deadline"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Measured by the engine, not assumed."""

    prompt_tokens: int
    """The whole prompt."""
    cached_tokens: int
    """What the engine did not have to compute."""
    completion_tokens: int
    """The answer."""
    cache_hit: bool
    """Whether a stored prefix was really used, live or from its file."""
    cached_prompts: tuple[str, ...] = ()
    """The names of the caches that took part."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time went, from the arrival of the request."""

    queue_ms: float
    """Waiting for a turn."""
    load_ms: float
    """Loading the model or a state."""
    prefill_ms: float
    """Computing the prompt, by the engine's clock."""
    ttft_ms: float | None
    """Until the first piece of the answer."""
    total_ms: float
    """Until the end."""
    tokens_per_s: float | None
    """Decoding, by the engine's clock."""
    decode_ms: float = 0.0
    """Computing the answer, by the engine's clock."""
    first_sentence_ms: float | None = None
    """Until the first sentence was told; absent where none was asked for."""
    last_token_ms: float | None = None
    """Until the last piece of the answer."""


@dataclass(frozen=True, slots=True)
class Done:
    """The answer is complete."""

    event: ClassVar[str] = "done"
    text: str
    """The whole answer; left out with `truncated` where it would not fit in a line."""
    reason: DoneReason
    """Why it ended."""
    model: str
    """Who answered."""
    session: str | None
    """In which conversation."""
    usage: Usage
    """Tokens."""
    timing: Timing
    """Times."""
    warnings: tuple[str, ...] = ()
    """What was not done as asked."""


@dataclass(frozen=True, slots=True)
class Error:
    """The request failed."""

    event: ClassVar[str] = "error"
    code: Code
    """What went wrong, as a word."""
    message: str
    """What went wrong, as a sentence."""
    hint: str
    """What to do next."""
    retryable: bool
    """Whether the same request can succeed later."""
    details: Mapping[str, Any] | None = None
    """Values for a program."""


@dataclass(frozen=True, slots=True)
class Noted:
    """Something happened that a `watch` asked for."""

    event: ClassVar[str] = "event"
    kind: WatchKind
    """What it is about."""
    data: Mapping[str, Any]
    """What there is to say."""


Event = Queued | Progress | Delta | Sentence | ToolCalled | Noted | Done | Error
