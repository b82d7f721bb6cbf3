"""A line chart as SVG: x in proportion, y in powers of ten, each line named at its end."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 760, 400
LEFT, RIGHT, TOP, BOTTOM = 80, 270, 44, 48
COLOURS = ("#b3392f", "#1f6fb2", "#2b8a4b", "#8a5a1f")
LABEL_HEIGHT = 17
FONT = 'font-family="sans-serif" font-size="13" fill="#333"'


@dataclass(frozen=True)
class Line:
    """One thing that was measured; `low` and `high` are the ends of its spread."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def draw(title: str, x_title: str, y_title: str, lines: Sequence[Line]) -> str:
    """The drawing."""
    x_max = max(max(line.x) for line in lines)
    lowest = math.floor(math.log10(min(min(line.low) for line in lines)))
    highest = math.log10(max(max(line.high) for line in lines))

    def at(x: float, y: float) -> tuple[float, float]:
        across = LEFT + x / x_max * (WIDTH - LEFT - RIGHT)
        share = (math.log10(y) - lowest) / (highest - lowest)
        return round(across, 1), round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {FONT}>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text(LEFT, 24, title, "start", bold=True),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, x_title, "middle"),
    ]
    for decade in range(lowest, math.floor(highest) + 1):
        value = 10.0**decade
        (left, height), (right, _) = at(0, value), at(x_max, value)
        parts.append(_rule(left, height, right, height))
        parts.append(_text(left - 8, height + 4, f"{value:,.15g} {y_title}", "end"))
    for x in lines[0].x:
        across, bottom = at(x, 10.0**lowest)
        parts.append(_text(across, bottom + 18, f"{x:,g}", "middle"))
    free = HEIGHT
    for line, colour in sorted(zip(lines, COLOURS, strict=False), key=lambda one: one[0].y[-1]):
        points = [at(x, y) for x, y in zip(line.x, line.y, strict=True)]
        path = " ".join(f"{x},{y}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y, low, high in zip(line.x, line.y, line.low, line.high, strict=True):
            across, middle = at(x, y)
            parts.append(_rule(across, at(x, low)[1], across, at(x, high)[1], colour))
            parts.append(f'<circle cx="{across}" cy="{middle}" r="3.5" fill="{colour}"/>')
        free = min(points[-1][1] + 4, free - LABEL_HEIGHT)
        parts.append(_text(points[-1][0] + 12, free, line.name, "start", colour))
    return "\n".join([*parts, "</svg>\n"])


def _text(
    x: float, y: float, words: str, anchor: str, colour: str = "#333", *, bold: bool = False
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    place = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{colour}"{weight}'
    return f"<text {place}>{escape(words)}</text>"


def _rule(x1: float, y1: float, x2: float, y2: float, colour: str = "#ddd") -> str:
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"/>'
