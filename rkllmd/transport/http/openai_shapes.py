"""What OpenAI's endpoints answer, as types. The OpenAPI document is made from them."""

from typing import Literal, NotRequired, TypedDict

FinishReason = Literal["stop", "length", "tool_calls"]


class ShownModel(TypedDict):
    """A model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    state: str
    context_length: int | None


class ShownModels(TypedDict):
    """The models."""

    object: Literal["list"]
    data: list[ShownModel]


class CachedTokens(TypedDict):
    """How many of the prompt's tokens did not have to be computed."""

    cached_tokens: int


class TokenUsage(TypedDict):
    """Tokens, and what the prompt caches did."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens
    cache_hit: bool
    cached_prompts: list[str]


class Timings(TypedDict):
    """Times, as llama.cpp writes them."""

    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_second: float


class NamedCall(TypedDict):
    """A tool's name, and its arguments as JSON in a text."""

    name: str
    arguments: str


class MadeCall(TypedDict):
    """A tool call; in a stream with its place among them."""

    id: str
    type: Literal["function"]
    function: NamedCall
    index: NotRequired[int]


class ChatSaid(TypedDict):
    """An assistant's message."""

    role: Literal["assistant"]
    content: str | None
    reasoning_content: NotRequired[str]
    tool_calls: NotRequired[list[MadeCall]]


class ChatDelta(TypedDict, total=False):
    """What a chunk adds to the message."""

    role: Literal["assistant"]
    content: str
    reasoning_content: str
    tool_calls: list[MadeCall]


class Choice(TypedDict):
    """What all choices have."""

    index: int
    logprobs: None
    finish_reason: FinishReason


class ChatChoice(Choice):
    """An answer to a conversation."""

    message: ChatSaid


class TextChoice(Choice):
    """What a text goes on with."""

    text: str


class ChunkChoice(TypedDict):
    """What all choices of chunks have; the reason stands in the last one."""

    index: int
    logprobs: None
    finish_reason: FinishReason | None


class ChatChunkChoice(ChunkChoice):
    """A piece of an answer."""

    delta: ChatDelta


class TextChunkChoice(ChunkChoice):
    """A piece of a text."""

    text: str


class Frame(TypedDict):
    """What all answers have."""

    id: str
    created: int
    model: str
    warnings: NotRequired[list[str]]


class Whole(Frame):
    """What answers in one piece have."""

    usage: TokenUsage
    timings: Timings


class Chunk(Frame):
    """What chunks have: the usage without choices, the timings in the last ones."""

    usage: NotRequired[TokenUsage]
    timings: NotRequired[Timings]


class ChatCompletion(Whole):
    """An answer to a conversation."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class ChatCompletionChunk(Chunk):
    """A piece of it."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChatChunkChoice]


class Completion(Whole):
    """A text that was gone on with."""

    object: Literal["text_completion"]
    choices: list[TextChoice]


class CompletionChunk(Chunk):
    """A piece of it."""

    object: Literal["text_completion"]
    choices: list[TextChunkChoice]


class Embedding(TypedDict):
    """A text's vector: numbers, or their bytes in base64."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingUsage(TypedDict):
    """Tokens of the texts."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(TypedDict):
    """Vectors of texts."""

    object: Literal["list"]
    model: str
    data: list[Embedding]
    usage: EmbeddingUsage
