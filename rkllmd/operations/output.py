"""From the pieces a worker sends to what the client is told, in the modes it asked for.

    pieces → thinking apart → tool calls apart → so many sentences → deltas, sentences → the client

Each stage holds back what is not certain yet and gives it up at the end.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from rkllmd.chat.deltas import SpeechDeltas
from rkllmd.chat.limit import SentenceLimit
from rkllmd.chat.sentences import SentenceSplitter
from rkllmd.chat.speech import SpeechFilter
from rkllmd.chat.thinking import ThinkingSplitter, opens_thinking
from rkllmd.chat.toolcalls import ToolCallParser, find_family
from rkllmd.protocol.messages import Delta, Event, Sentence, StreamMode, Tool, ToolCalled
from rkllmd.registry.loaded import LoadedModel


@dataclass(frozen=True, slots=True)
class Manner:
    """How an answer is told."""

    stream: StreamMode = "both"
    speech: bool = False
    thinking: bool = False
    language: str = "en"
    tools: tuple[Tool, ...] = ()
    max_sentences: int | None = None

    @property
    def deltas(self) -> bool:
        """Whether the text comes in pieces."""
        return self.stream in {"tokens", "both", True}

    @property
    def sentences(self) -> bool:
        """Whether whole sentences come."""
        return self.stream in {"sentences", "both", True}


class Output:
    """One answer on its way: what the model writes comes in, what is told of it goes out."""

    def __init__(self, manner: Manner) -> None:
        self.manner = manner
        self.told = False
        """Whether any of it is told."""
        self.calls: list[ToolCalled] = []
        self.problems: list[str] = []
        self._thinking = ThinkingSplitter("none")
        self._tools: ToolCallParser | None = None
        self._events: list[Event] = []
        """To be told next."""
        self._clear()

    def _clear(self) -> None:
        manner = self.manner
        self.raw = ""
        """Everything the model wrote, as it wrote it."""
        self.text = ""
        self._speech = SpeechDeltas(manner.language) if manner.speech else None
        self._clean = SpeechFilter()
        self._sentences = SentenceSplitter(manner.language) if manner.sentences else None
        self._spoken = 0
        most = manner.max_sentences
        self._limit = SentenceLimit(most, manner.language) if most else None

    @property
    def is_full(self) -> bool:
        """Whether nothing that still comes will be told."""
        return self._limit is not None and self._limit.reached

    def begin(self, model: LoadedModel, prompt: str) -> None:
        """Get ready for a model's way of writing; only before its first piece."""
        self._clear()
        self._thinking = ThinkingSplitter(model.thinking, opens_thinking(prompt))
        if self.manner.tools:
            self._tools = ToolCallParser(self.manner.tools, find_family(model.template_source))

    def take(self, piece: str) -> list[Event]:
        """What is told once the model has written this piece."""
        self.raw += piece
        for channel, text in self._thinking.feed(piece):
            self._sort(channel, text)
        return self._tell()

    def finish(self, *, cut_off: bool = False) -> list[Event]:
        """What is told when the model has ended, or was cut off: what was held back."""
        for channel, text in self._thinking.flush():
            self._sort(channel, text)
        if self._tools is not None:
            found = self._tools.finish(cut_off=cut_off)
            self._say(found.text)
            self.calls = [ToolCalled(_call_id(), *call) for call in found.calls]
            self.problems = list(found.problems)
        if self._limit is not None:
            self._write(self._limit.flush())
        self._speak(self._clean.flush())
        if self._speech is not None:
            self._send_deltas(self._speech.flush())
        if self._sentences is not None:
            self._send_sentences(self._sentences.flush())
        self._events += self.calls
        return self._tell()

    def _tell(self) -> list[Event]:
        events, self._events = self._events, []
        self.told = self.told or bool(events)
        return events

    def _sort(self, channel: str, text: str) -> None:
        if channel != "thinking":
            self._say(text if self._tools is None else self._tools.feed(text))
        elif self.manner.thinking and self.manner.deltas:
            self._events.append(Delta(text, channel="thinking"))

    def _say(self, text: str) -> None:
        self._write(text if self._limit is None else self._limit.feed(text))

    def _write(self, text: str) -> None:
        """Text that belongs to the answer."""
        if not text:
            return
        self.text += text
        if self._speech is None:
            self._send_deltas([text])
        if self._speech is not None or self._sentences is not None:
            self._speak(self._clean.feed(text))

    def _speak(self, text: str) -> None:
        """Text without what cannot be spoken, for speech and for sentences."""
        if self._speech is not None:
            self._send_deltas(self._speech.feed(text))
        if self._sentences is not None:
            self._send_sentences(self._sentences.feed(text))

    def _send_deltas(self, texts: Iterable[str]) -> None:
        for text in texts if self.manner.deltas else ():
            if text:
                self._events.append(Delta(text))

    def _send_sentences(self, texts: Iterable[str]) -> None:
        for text in texts:
            if text.strip():
                self._events.append(Sentence(self._spoken, text, self.manner.language))
                self._spoken += 1


def _call_id() -> str:
    """What the answer to a call refers to: unlike any other, in this conversation and the next."""
    return f"call_{secrets.token_hex(8)}"
