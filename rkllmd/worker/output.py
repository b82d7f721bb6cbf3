"""What a worker prints: lines of bounded length for the log, the last of them kept. Pure."""

from collections import deque
from collections.abc import Iterator

LINE_BYTES_MAX = 2000
LINES_KEPT = 50


class OutputLines:
    """Takes bytes as they come and gives the lines that are complete.

    A longer line is cut and its rest is dropped; bytes that are no UTF-8, and control characters,
    become U+FFFD.
    """

    def __init__(self) -> None:
        self.last: deque[str] = deque(maxlen=LINES_KEPT)
        self._begun = b""

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that these bytes complete."""
        *complete, begun = data.split(b"\n")
        for part in complete:
            yield from self._end_line(part)
        self._add(begun)

    def finish(self) -> Iterator[str]:
        """The last line, when it has no end."""
        yield from self._end_line(b"")

    def _end_line(self, part: bytes) -> Iterator[str]:
        self._add(part)
        line = self._begun.rstrip(b"\r")
        self._begun = b""
        if line:
            self.last.append(_printable(line))
            yield self.last[-1]

    def _add(self, part: bytes) -> None:
        self._begun += part[: LINE_BYTES_MAX + 1 - len(self._begun)]


def _printable(line: bytes) -> str:
    text = line[:LINE_BYTES_MAX].decode(errors="replace")
    text = "".join(c if c.isprintable() or c == "\t" else "\ufffd" for c in text)
    return text + "…" if len(line) > LINE_BYTES_MAX else text
