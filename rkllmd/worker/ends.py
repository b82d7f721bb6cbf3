"""The ways a worker process can end, each with its sentence. Pure."""

import signal
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile

from rkllmd.errors import Code, WorkerLost

LINES_TOLD = 5
FAULT_REPORT = "Fatal Python error"
"""So begins what Python prints of a crash, with stacks; the engine's last word is before it."""


class EndKind(StrEnum):
    """How a worker process ended."""

    CLEAN = "clean"
    """By itself, with status 0."""
    STATUS = "status"
    """By itself, with another status."""
    SIGNAL = "signal"
    """By a signal that was not ours."""
    SILENCE = "silence"
    """Killed, since it said nothing in time."""
    OVERDUE = "overdue"
    """Killed, since it did not stop after a cancel."""
    GARBAGE = "garbage"
    """Killed, since what it said was not the protocol."""


@dataclass(frozen=True, slots=True)
class WorkerEnd:
    """The end of one worker process."""

    kind: EndKind
    code: int
    """The exit status or the signal."""
    last_lines: tuple[str, ...]
    """What it printed last."""
    why: str = ""
    """For the kinds that were killed: what it did."""

    @property
    def sentence(self) -> str:
        """What happened, for a person."""
        match self.kind:
            case EndKind.CLEAN:
                return "the worker left by itself"
            case EndKind.STATUS:
                return f"the worker ended with status {self.code}"
            case EndKind.SIGNAL:
                return f"the worker was killed by {signal_in_words(self.code)}"
            case _:
                return f"the worker was killed: {self.why}"

    @property
    def error(self) -> WorkerLost:
        """What a call is told that was open when the worker ended."""
        code = Code.ENGINE_HUNG if self.kind is EndKind.SILENCE else Code.ENGINE_CRASHED
        told = list(self.last_lines[-LINES_TOLD:])
        own = list(takewhile(lambda line: not line.startswith(FAULT_REPORT), self.last_lines))
        said = f"; it last printed: {(own or self.last_lines[:1])[-1]}" if told else ""
        return WorkerLost(code, f"{self.sentence}{said}", end=str(self.kind), last_lines=told)


def signal_in_words(number: int) -> str:
    """A signal's number and name."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    hint = ", perhaps because memory ran out" if number == signal.SIGKILL else ""
    return f"signal {number} ({name}{hint})"
