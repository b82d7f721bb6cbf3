"""The same engine without daemon and worker, in this process."""

import time
from dataclasses import dataclass
from pathlib import Path

from rkllmd.chat.builtin import choose
from rkllmd.chat.template import ChatTemplate
from rkllmd.engine.tiny import TinyEngine
from rkllmd.protocol.messages import Message
from rkllmd.runs import GREEDY, Limits, LoadSpec, Prompt, RunStats


@dataclass(frozen=True)
class Answered:
    """One answer."""

    first_s: float
    cpu_s: float
    text: str
    stats: RunStats


class Alone:
    """An engine, and its model's template."""

    def __init__(self, model: Path) -> None:
        self._engine = TinyEngine(LoadSpec(str(model)))
        facts = self._engine.facts
        source = choose(None, facts.chat_template)
        self._template = ChatTemplate(source, facts.bos_text, facts.eos_text)

    def render(self, system: str, question: str) -> str:
        """The prompt that the daemon makes of these words."""
        messages = [Message("system", system), Message("user", question)]
        return self._template.render(messages, (), False).text

    def ask(self, prompt: str, max_tokens: int) -> Answered:
        """Run a prompt, from its text to its last token."""
        pieces: list[bytes] = []
        times: list[float] = []

        def on_piece(piece: bytes) -> None:
            times.append(time.perf_counter())
            pieces.append(piece)

        began, cpu = time.perf_counter(), time.process_time()
        stats = self._engine.run(
            Prompt.of_text(prompt),
            GREEDY,
            Limits(max_tokens),
            on_piece,
            lambda: False,
            lambda done, total: None,
        )
        ended = time.perf_counter()
        return Answered(
            (times[0] if times else ended) - began,
            time.process_time() - cpu,
            b"".join(pieces).decode(errors="replace"),
            stats,
        )
