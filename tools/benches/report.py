"""Numbers for readers: spreads, tables in Markdown, and all of it as JSON."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of them does not pass (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return percentile(values, 0.5)


def spread(values: Sequence[float], shares: Sequence[float] = (0.5,)) -> list[float]:
    """Least, the wanted percentiles, greatest."""
    return [min(values), *(percentile(values, share) for share in shares), max(values)]


def number(value: float) -> str:
    """As many digits as mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


@dataclass(frozen=True)
class Table:
    """A first column of words, then numbers."""

    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def markdown(self) -> str:
        """The table as text that is a table on a terminal and on a page."""
        widths = [max(map(len, column)) for column in zip(self.head, *self.rows, strict=True)]
        rule = ["-" * width for width in widths[:1]]
        rule += ["-" * (width - 1) + ":" for width in widths[1:]]

        def line(cells: Sequence[str]) -> str:
            first = cells[0].ljust(widths[0])
            rest = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
            return "| " + " | ".join([first, *rest]) + " |"

        return "\n".join([f"{self.title}\n", line(self.head), line(rule), *map(line, self.rows)])


@dataclass
class Report:
    """What one measurement found."""

    name: str
    tables: list[Table] = field(default_factory=list)
    samples: dict[str, Any] = field(default_factory=dict)
    """Every single measured value."""
    chart: str | None = None
    """A drawing, as SVG."""

    def text(self) -> str:
        """All tables."""
        return "\n\n".join(table.markdown() for table in self.tables)
