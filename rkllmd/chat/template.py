"""Messages to a prompt with a model's chat template, and where the prefix in it ends.

The prefix is the rendered text from the start to the end of what does not depend on the
conversation: the template's head, the system text, the tools. It is found by rendering two
conversations that share nothing but these, and a third whose user says only blanks (a template may
trim), and taking what all begin with. So it works for any template, also for one that puts the
system text into the first user's turn, where it ends before the user's words.

What a template can do is tried once, not guessed from its words. One that refuses, drops or moves a
system message gets it at the head of the first user's turn; one that drops tools, calls or a tool's
answer gets them in words (see `conversation`). A template that moves the tools keeps doing so, and
then `Rendered` tells that the prefix is not there.

Not done here: a user's text that spells the model's own control tokens is passed on as it is.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateSyntaxError

from rkllmd.chat.conversation import (
    SHAPES,
    Turn,
    folded,
    in_plain_text,
    split_system,
    stable_tools,
    with_silence,
    with_system,
    with_tools_described,
    without_orphans,
)
from rkllmd.chat.sandbox import BoundedEnvironment, Exhausted, Refused
from rkllmd.chat.toolcalls import Family, find_family
from rkllmd.errors import Code, EngineError, RequestError, RkllmdError
from rkllmd.protocol.messages import CalledFunction, Message, Tool, ToolCall, ToolFunction

PREFIXES_KEPT = 32
REASON_CHARACTERS_MAX = 300

_FIRST_WORDS = ("Aq", "Zq")
"""What the users of the compared conversations say."""
_BLANK_WORDS = " \n"
_PROBE = "rkllmd_probe"
_HELLO: Turn = {"role": "user", "content": "Hello"}
_CALLING = (
    Message("user", "Hello"),
    Message("assistant", None, tool_calls=(ToolCall(CalledFunction(_PROBE, "{}"), id="1"),)),
    Message("tool", "done", call_id="1"),
)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt, and how much of its head is the prefix."""

    text: str
    prefix_characters: int


class ChatTemplate:
    """One model's template."""

    def __init__(self, source: str, bos_text: str = "", eos_text: str = "") -> None:
        self._tokens = {"bos_token": bos_text, "eos_token": eos_text}
        self._prefixes: dict[tuple[str | None, str, bool], str] = {}
        self._no_tools: list[Turn] | None = None
        self._environment = BoundedEnvironment()
        try:
            self._template = self._environment.compile_bounded(source)
            self._learn()
        except TemplateSyntaxError as error:
            raise _broken(f"line {error.lineno}: {error.message}") from error
        except Exception as error:
            raise _broken(_reason(error)) from error
        self.tool_family: Family = find_family(source) if self.knows_tools else "hermes"

    def _learn(self) -> None:
        """Try what the template can do."""
        if not self._shows([_said("user", _PROBE)]):
            self._no_tools = []
        takes_blanks = self._tried([_said("user", _BLANK_WORDS)]) is not None
        self._blank_words = (_BLANK_WORDS,) if takes_blanks else ()
        self.knows_tools = self._shows([_HELLO], stable_tools([Tool(ToolFunction(_PROBE))]))
        shows_system = self._shows([_said("system", _PROBE), _HELLO])
        self.knows_system = shows_system and self._leaves_system_in_place()
        _, called = split_system(_CALLING)
        self._knows_calls = self._shows(called)
        self._wants_silence = not self._knows_calls and self._shows(with_silence(called))
        self._knows_orphans = self._shows([_HELLO, _said("tool", _PROBE)])

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        thinking: bool = False,  # noqa: FBT001, FBT002 - it is one of the prefix's three parts
        *,
        add_generation_prompt: bool = True,
    ) -> Rendered:
        """The prompt of a conversation."""
        system, turns = split_system(messages)
        listed = stable_tools(tools)
        ask = add_generation_prompt
        text = self._render(system, turns, listed, thinking=thinking, ask=ask)
        prefix = self._prefix(system, listed, thinking=thinking)
        return Rendered(text, _common_length(prefix, text))

    def render_prefix(
        self,
        system_text: str | None,
        tools: Sequence[Tool] = (),
        thinking: bool = False,  # noqa: FBT001, FBT002
    ) -> str:
        """What every conversation with these begins with: the text that a prompt cache stores."""
        return self._prefix(system_text, stable_tools(tools), thinking=thinking)

    def _prefix(self, system: str | None, tools: list[dict[str, Any]], *, thinking: bool) -> str:
        key = (system, json.dumps(tools), thinking)
        if key not in self._prefixes:
            first, *others = (
                self._render(system, [_said("user", words)], tools, thinking=thinking, ask=True)
                for words in (*_FIRST_WORDS, *self._blank_words)
            )
            shared = min(_common_length(first, other) for other in others)
            if len(self._prefixes) >= PREFIXES_KEPT:
                del self._prefixes[next(iter(self._prefixes))]
            self._prefixes[key] = first[:shared]
        return self._prefixes[key]

    def _render(
        self,
        system: str | None,
        turns: list[Turn],
        tools: list[dict[str, Any]],
        *,
        thinking: bool,
        ask: bool,
    ) -> str:
        """Render in the first shape that the template takes."""
        if not self.knows_tools and tools:
            system, tools = with_tools_described(system, tools), []
        turns = self._adapted(turns)
        whole = (with_system if self.knows_system else folded)(system, turns)
        first_problem: RkllmdError | None = None
        for shape in SHAPES:
            try:
                return self._attempt(shape(whole), tools, thinking=thinking, ask=ask)
            except Exhausted as error:
                raise _failed(error) from error
            except RkllmdError as problem:
                first_problem = first_problem or problem
        assert first_problem is not None
        raise first_problem

    def _adapted(self, turns: list[Turn]) -> list[Turn]:
        """Calls and tools' answers as the template shows them."""
        if not (self.knows_tools and (self._knows_calls or self._wants_silence)):
            return in_plain_text(turns)
        if not self._knows_orphans:
            turns = without_orphans(turns)
        return with_silence(turns) if self._wants_silence else turns

    def _attempt(
        self,
        turns: list[Turn],
        tools: list[dict[str, Any]],
        *,
        thinking: bool,
        ask: bool,
    ) -> str:
        values = {
            **self._tokens,
            "messages": turns,
            "tools": tools or self._no_tools,
            "add_generation_prompt": ask,
            "enable_thinking": thinking,
            "thinking": thinking,
        }
        try:
            return self._environment.render_bounded(self._template, values)
        except Exhausted:
            raise
        except Refused as error:
            raise RequestError(
                Code.BAD_REQUEST,
                f"The model's chat template refuses this conversation: {_reason(error)}.",
                member="messages",
            ) from error
        except Exception as error:
            raise _failed(error) from error

    def _shows(self, turns: list[Turn], tools: list[Turn] | None = None) -> bool:
        """Whether the probe that is in there comes out again."""
        return _PROBE in (self._tried(turns, tools) or "")

    def _leaves_system_in_place(self) -> bool:
        """Whether a longer conversation begins as a short one does."""
        system = _said("system", _PROBE)
        short = [self._tried([system, _said("user", words)]) or "" for words in _FIRST_WORDS]
        long = self._tried([system, _HELLO, _said("assistant", "Hi"), _HELLO])
        return long is None or _common_length(*short) <= _common_length(short[0], long)

    def _tried(self, turns: list[Turn], tools: list[Turn] | None = None) -> str | None:
        """What the template makes of it; None when it takes offence."""
        try:
            return self._attempt(turns, tools or [], thinking=False, ask=True)
        except RkllmdError:
            return None


def _said(role: str, words: str) -> Turn:
    return {"role": role, "content": words}


def _broken(reason: str) -> EngineError:
    return EngineError(Code.LOAD_FAILED, f"The model's chat template is no good: {reason}.")


def _failed(error: Exception) -> EngineError:
    return EngineError(Code.ENGINE_ERROR, f"The model's chat template failed: {_reason(error)}.")


def _reason(error: Exception) -> str:
    words = str(error).strip().rstrip(".")[:REASON_CHARACTERS_MAX]
    if isinstance(error, Refused | Exhausted):
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _common_length(one: str, other: str) -> int:
    """How many characters both begin with, by bisection: slices compare at memory's speed."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
