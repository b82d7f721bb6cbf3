"""Writes the log to stderr, in the way that whoever reads it there understands best.

- The journal gets `<N>` with the priority before every line, also of tracebacks, and no time.
- Others (a terminal, a file, a pipe) get the time, the level and the room.

Control characters are written as escapes, because what workers and clients say may be in a message.
Prompts and answers are there only while `log.content` is on (operations/record.py). Of other
programs' packages only warnings are written.
"""

import logging
import os
import re
from collections.abc import Mapping
from typing import Final, TextIO

PACKAGE: Final = "rkllmd"

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def set_up(stream: TextIO, environ: Mapping[str, str], level: str) -> None:
    """Write everything from this level up to the stream, and nothing anywhere else."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JournalFormatter() if is_journal(stream, environ) else PlainFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    set_level(level)


def set_level(level: str) -> None:
    """Change the level, one of those that `log.level` may be."""
    logging.getLogger(PACKAGE).setLevel(level.upper())


def is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether a stream is the one that systemd connected to the journal."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class PlainFormatter(logging.Formatter):
    """Time, level and room before the message, and no control characters in it."""

    HEAD = "%(asctime)s %(levelname)-7s "

    def __init__(self) -> None:
        super().__init__(f"{self.HEAD}%(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """The record as it is written."""
        return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", super().format(record))


class JournalFormatter(PlainFormatter):
    """The priority before every line; the journal knows the time."""

    HEAD = ""

    def format(self, record: logging.LogRecord) -> str:
        """The record as it is written."""
        prefix = f"<{_priority(record.levelno)}>"
        return "\n".join(prefix + line for line in super().format(record).split("\n"))


def _priority(level: int) -> int:
    """Syslog's number for a level of logging."""
    steps = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
    return next((number for least, number in steps if level >= least), 7)
