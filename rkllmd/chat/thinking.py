"""Splits a model's thinking from its answer while both are being written.

A thinking model writes `<think>`, its thoughts, `</think>`, its answer. Qwen writes the opening tag
itself; DeepSeek's prompt ends with it, so the answer begins in the middle of the thoughts. Tags are
looked for where they can stand: at the head of what the model says, and for the end of the thoughts
anywhere in them. A `<think>` in the middle of an answer is somebody writing about tags.

    head ──<think>──▶ thoughts ──</think>──▶ head
      └──any other text──▶ answer (to the end)

Newlines around tags belong to them. Thoughts that never close stay thoughts. However the text is
cut into pieces, the same text goes to the same channel.
"""

from enum import StrEnum
from typing import Literal

Style = Literal["none", "qwen", "deepseek"]
Channel = Literal["thinking", "answer"]

OPENING = "<think>"
CLOSING = "</think>"


class _State(StrEnum):
    HEAD = "head"
    THOUGHTS = "thoughts"
    ANSWER = "answer"


class ThinkingSplitter:
    """`open_at_start`: the prompt ended inside the thoughts (`opens_thinking` tells)."""

    def __init__(self, style: Style, open_at_start: bool = False) -> None:  # noqa: FBT001, FBT002
        self._state = _State.HEAD
        if style == "none":
            self._state = _State.ANSWER
        elif open_at_start:
            self._state = _State.THOUGHTS
        self._held = ""
        self._after_tag = self._state is _State.THOUGHTS

    def feed(self, text: str) -> list[tuple[Channel, str]]:
        """What is certain now, in order."""
        self._held += text
        pieces: list[tuple[Channel, str]] = []
        while self._step(pieces):
            pass
        return pieces

    def flush(self) -> list[tuple[Channel, str]]:
        """What was held back for a tag that did not come."""
        held, self._held = self._held, ""
        if self._after_tag:
            held = held.lstrip("\r\n")
        channel: Channel = "thinking" if self._state is _State.THOUGHTS else "answer"
        return [(channel, held)] if held else []

    def _step(self, pieces: list[tuple[Channel, str]]) -> bool:
        """Take what can be taken; whether there may be more."""
        if self._after_tag:
            self._held = self._held.lstrip("\r\n")
            if not self._held:
                return False
        match self._state:
            case _State.HEAD:
                return self._leave_head()
            case _State.THOUGHTS:
                return self._take_thoughts(pieces)
            case _State.ANSWER:
                self._take(pieces, "answer", len(self._held))
                return False

    def _leave_head(self) -> bool:
        begun = self._held.lstrip()
        for tag, state in ((OPENING, _State.THOUGHTS), (CLOSING, _State.HEAD)):
            if begun.startswith(tag):
                self._held = begun.removeprefix(tag)
                self._state, self._after_tag = state, True
                return True
        if OPENING.startswith(begun) or CLOSING.startswith(begun):
            return False
        self._state = _State.ANSWER
        return True

    def _take_thoughts(self, pieces: list[tuple[Channel, str]]) -> bool:
        end = self._held.find(CLOSING)
        if end < 0:
            self._take(pieces, "thinking", len(self._held) - _begun(self._held))
            return False
        self._take(pieces, "thinking", end)
        self._held = self._held.removeprefix(CLOSING)
        self._state, self._after_tag = _State.HEAD, True
        return True

    def _take(self, pieces: list[tuple[Channel, str]], channel: Channel, length: int) -> None:
        if length:
            pieces.append((channel, self._held[:length]))
            self._held = self._held[length:]
            self._after_tag = False


def _begun(text: str) -> int:
    """How many characters at the end may be the begin of the closing tag."""
    longest = min(len(text), len(CLOSING) - 1)
    return next((n for n in range(longest, 0, -1) if CLOSING.startswith(text[-n:])), 0)


def opens_thinking(prompt: str) -> bool:
    """Whether a rendered prompt ends inside the thoughts."""
    return prompt[-64:].rstrip().endswith(OPENING)


def find_style(template_source: str) -> Style:
    """How the model of a template marks its thinking."""
    if CLOSING not in template_source and OPENING not in template_source:
        return "none"
    return "deepseek" if "<｜Assistant｜>" in template_source else "qwen"
