"""How much text a model takes: the window it is loaded with, and which prompts fit into it."""

from array import array
from collections.abc import Callable, Iterable

from rkllmd.errors import Code, EngineError, RequestError
from rkllmd.runs import LoadSpec, Prompt

CONTEXT_TOKENS_DEFAULT = 4096
"""Taken where the model allows more and nobody asked for more."""


def context_of(spec: LoadSpec, trained: int) -> tuple[int, tuple[str, ...]]:
    """How many tokens there is room for, and what a person should know of it."""
    if spec.context_tokens is None:
        return min(trained, CONTEXT_TOKENS_DEFAULT), ()
    if spec.context_tokens < 1:
        raise EngineError(
            Code.LOAD_FAILED, f"A context of {spec.context_tokens} tokens is less than 1."
        )
    if spec.context_tokens > trained:
        asked = spec.context_tokens
        return trained, (f"the context is the model's {trained}, not {asked} tokens",)
    return spec.context_tokens, ()


def checked_tokens(
    prompt: Prompt,
    tokenize: Callable[[str], Iterable[int]],
    *,
    vocabulary: int,
    context: int,
    room_for: int,
) -> "array[int]":
    """A prompt's tokens, if they are the model's and there is room behind them."""
    tokens = array("i", tokenize(prompt.text)) if prompt.kind == "text" else prompt.tokens
    if not tokens:
        raise RequestError(Code.BAD_REQUEST, "The prompt is empty; one token is needed.")
    if not (min(tokens) >= 0 and max(tokens) < vocabulary):
        raise RequestError(
            Code.BAD_REQUEST, f"The prompt has a token outside of 0 to {vocabulary - 1}."
        )
    if len(tokens) + room_for > context:
        raise RequestError(
            Code.CONTEXT_OVERFLOW,
            f"The prompt has {len(tokens)} tokens and the context {context}.",
            prompt_tokens=len(tokens),
            context_tokens=context,
        )
    return tokens
