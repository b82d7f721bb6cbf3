"""Bytes to lines: however a stream is cut into pieces, the same lines come out. Pure.

A line ends with a newline; carriage returns before it do not count, and a line of blanks is no
line. A line longer than the bound is told once, and the reader takes nothing after it. What
follows the last newline when the stream ends is a line too: JSON that was cut off is never a whole
object, and `printf` forgets the newline easily.
"""

from enum import Enum, auto

BLANKS = b" \t\r"


class FramingProblem(Enum):
    """Why no more lines come."""

    LINE_TOO_LONG = auto()


class LineReader:
    """Holds at most one unfinished line. Each byte is looked at once."""

    def __init__(self, line_bytes_max: int) -> None:
        self._line_bytes_max = line_bytes_max
        self._rest = bytearray()
        self._closed = False

    def feed(self, data: bytes) -> list[bytes | FramingProblem]:
        """The lines that are complete now, without their ends."""
        found: list[bytes | FramingProblem] = []
        start = 0
        while not self._closed and (end := data.find(b"\n", start)) >= 0:
            self._take(data[start:end], found)
            self._end_line(found)
            start = end + 1
        self._take(data[start:], found)
        return found

    def finish(self) -> list[bytes | FramingProblem]:
        """The last line, where the stream ended without a newline."""
        found: list[bytes | FramingProblem] = []
        self._end_line(found)
        self._closed = True
        return found

    def _take(self, piece: bytes, found: list[bytes | FramingProblem]) -> None:
        if self._closed:
            return
        if len(self._rest) + len(piece) > self._line_bytes_max:
            self._closed = True
            self._rest.clear()
            found.append(FramingProblem.LINE_TOO_LONG)
        else:
            self._rest += piece

    def _end_line(self, found: list[bytes | FramingProblem]) -> None:
        if self._rest.strip(BLANKS):
            found.append(bytes(self._rest.rstrip(b"\r")))
        self._rest.clear()
