"""What people and scripts see: JSON lines, lines, tables, and the progress of long things.

Colours, `rich` and progress are for terminals only; into a pipe go plain aligned columns. What
models and clients have said is written without control characters, which could steer a terminal,
also one that a pipe ends at.
"""

import codecs
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

COLOURS = {
    "green": ("ready", "verified", "ok", "loaded"),
    "yellow": (
        "starting", "loading", "unverified", "stale", "unloaded", "warning", "stopping", "none",
    ),
    "red": ("failed", "broken", "quarantined", "problem"),
}  # fmt: skip
COLOUR_OF = {word: colour for colour, words in COLOURS.items() for word in words}
ANSI = {"green": 32, "yellow": 33, "red": 31}
BAR_CELLS = 24
LAST_COLUMN_CELLS_MIN = 20
"""Of a table's last column, when the terminal has no room for more; the others are never folded."""
NO_ROWS = "none"

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Screen:
    """Standard output, and standard error for progress."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        steerable = os.environ.get("TERM", "dumb") != "dumb"
        self.terminal = sys.stdout.isatty() and steerable
        self._coloured = self.terminal and not os.environ.get("NO_COLOR")
        self._progress = sys.stderr.isatty() and steerable and not as_json
        self._shown = False
        # JSON has no other way to write what the caller's encoding lacks.
        self._wide = codecs.lookup(sys.stdout.encoding).name == "utf-8"

    def json(self, value: Any) -> None:
        """One line of JSON."""
        text = json.dumps(value, ensure_ascii=not self._wide)
        print(_CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text), flush=True)

    def complain(self, code: str, message: str, hint: str) -> None:
        """What went wrong, and what to do next."""
        self.clear()
        if self.as_json:
            self.json({"event": "error", "code": code, "message": message, "hint": hint})
            return
        print(f"rkllmctl: {printable(message)}", file=sys.stderr)
        if hint:
            print(f"          {printable(hint)}", file=sys.stderr)

    def line(self, text: str = "") -> None:
        """One line for people."""
        self.clear()
        print(printable(text), flush=True)

    def marked(self, word: str, text: str) -> None:
        """One line that begins with a word, which has its colour on a terminal."""
        colour = ANSI.get(COLOUR_OF.get(word.strip(), "")) if self._coloured else None
        self.clear()
        print(f"\x1b[{colour}m{word}\x1b[0m" if colour else word, printable(text),
              sep="", flush=True)  # fmt: skip

    def piece(self, text: str) -> None:
        """A part of an answer, at once."""
        self.clear()
        print(printable(text), end="", flush=True)

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Columns; those that are empty in every row are left out."""
        if not rows:
            self.line(NO_ROWS)
            return
        cells = [[_cell(value) for value in row] for row in rows]
        used = [n for n in range(len(heads)) if any(row[n] for row in cells)]
        heads = [heads[n] for n in used]
        cells = [[row[n] for n in used] for row in cells]
        self.clear()
        if not (self._coloured and _print_rich(heads, cells)):
            _print_plain(heads, cells)

    def progress(self, event: Mapping[str, Any]) -> None:
        """How far something is, on one line that is written over."""
        if not self._progress:
            return
        if event["event"] == "queued":
            text = f"waiting, {event['position']} before us"
        else:
            text = f"{event['phase']} {_bar(event['done'], event['total'])}"
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        self._shown = True

    def clear(self) -> None:
        """Take the progress away."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._shown = False


def printable(text: str) -> str:
    """A text that cannot steer a terminal."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def size(count: int | None) -> str:
    """Bytes, for people."""
    if count is None:
        return ""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if value >= 100 or unit == "B" else f"{value:.1f} {unit}"


def duration(seconds: float | None) -> str:
    """A time, for people."""
    if seconds is None:
        return ""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def milliseconds(value: float | None) -> str:
    """A short time, for people."""
    return "" if value is None else f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else ""
    return printable(str(value)).replace("\n", " ")


def _print_plain(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    every = [[head.upper() for head in heads], *rows]
    widths = _widths(every)
    for row in every:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(padded).rstrip())
    sys.stdout.flush()


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _print_rich(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Draw a table, its last column folded; False where there is no `rich`."""
    try:
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415
    except ImportError:
        return False
    *fixed, last = _widths([heads, *rows])
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for head in heads[:-1]:
        table.add_column(head.upper(), no_wrap=True)
    table.add_column(heads[-1].upper(), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=COLOUR_OF.get(cell, "")) for cell in row))
    console = Console()
    needed = sum(width + 2 for width in fixed) + min(last, LAST_COLUMN_CELLS_MIN)
    console.width = max(console.width, needed)
    console.print(table)
    return True


def _bar(done: int, total: int) -> str:
    if total <= 0:
        return f"{done}"
    full = min(BAR_CELLS, BAR_CELLS * done // total)
    return f"[{'#' * full}{'.' * (BAR_CELLS - full)}] {100 * done // total} %"
