"""Plots as SVG, written by hand: lines over a time axis, bars over a logarithmic one. No library, no script, no font.

Pure: figures in, text out. The background is white whatever page it stands on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 820, 260
LEFT, RIGHT, TOP, BOTTOM = 70, 16, 40, 42
COLOURS = ("#2f7ed8", "#d9822b", "#3a9d5d", "#b5417a", "#7a6fd0")
TICKS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One curve; ``points`` are x and y, by ascending x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One pair of axes. ``bars`` draws each line's points as bars side by side; ``floor`` is where y begins;
    ``marks`` are the values of x that are written below the axis, else five at equal distances.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    bars: bool = False
    log_x: bool = False
    marks: Sequence[float] = ()
    floor: float = 0.0


def svg(title: str, panels: Sequence[Panel]) -> str:
    """All panels below each other as one document."""
    height = 34 + HEIGHT * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(LEFT, 22, title, size=15),
    ]
    for number, panel in enumerate(panels):
        parts.append(f'<g transform="translate(0 {34 + HEIGHT * number})">{"".join(_panel(panel))}</g>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel) -> list[str]:
    points = [point for line in panel.lines for point in line.points]
    if not points:
        return [_text(LEFT, TOP, f"{panel.title}: nothing measured")]
    xs = [_x(panel, x) for x, _ in points]
    low, high = min(xs), max(xs)
    top = nice(max(*(y for _, y in points), panel.floor + 1e-9) - panel.floor)
    frame = _Frame(low, max(high - low, 1e-9), panel.floor, top)
    drawn = _legend(panel) + _axes(panel, frame)
    for number, line in enumerate(panel.lines):
        colour = COLOURS[number % len(COLOURS)]
        drawn += _bars(panel, line, frame, number, colour) if panel.bars else [_curve(panel, line, frame, colour)]
    return drawn


@dataclass(frozen=True, slots=True)
class _Frame:
    low: float
    width: float
    floor: float
    height: float

    def x(self, value: float) -> float:
        return LEFT + (value - self.low) / self.width * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.floor) / self.height * (HEIGHT - TOP - BOTTOM)


def nice(value: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * (1 - 1e-9))


def _x(panel: Panel, value: float) -> float:
    return math.log10(max(value, 1e-9)) if panel.log_x else value


def _axes(panel: Panel, frame: _Frame) -> list[str]:
    drawn = []
    for number in range(TICKS + 1):
        value = frame.floor + frame.height * number / TICKS
        y = frame.y(value)
        drawn.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
        drawn.append(_text(LEFT - 6, y + 4, f"{value:,.4g}", anchor="end"))
    for at, label in _marks(panel, frame):
        inside = min(frame.x(at), WIDTH - 4 * len(label))  # a long number under the last mark would be cut
        drawn.append(_text(inside, HEIGHT - BOTTOM + 16, label, anchor="middle"))
    drawn.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 32, panel.x, anchor="middle"))
    return drawn


def _marks(panel: Panel, frame: _Frame) -> list[tuple[float, str]]:
    """What is written below the axis, and where."""
    if panel.marks:
        return [(_x(panel, value), f"{value:,g}") for value in panel.marks]
    places = [frame.low + frame.width * number / TICKS for number in range(TICKS + 1)]
    return [(at, f"{10**at if panel.log_x else at:,.3g}") for at in places]


def _legend(panel: Panel) -> list[str]:
    drawn = [_text(LEFT, 16, f"{panel.title} ({panel.y})", size=13)]
    at = float(LEFT)
    for number, line in enumerate(panel.lines):
        drawn.append(f'<rect x="{at:.0f}" y="24" width="10" height="10" fill="{COLOURS[number % len(COLOURS)]}"/>')
        drawn.append(_text(at + 14, 33, line.name))
        at += 30 + 7 * len(line.name)
    return drawn


def _curve(panel: Panel, line: Line, frame: _Frame, colour: str) -> str:
    points = " ".join(f"{frame.x(_x(panel, x)):.1f},{frame.y(y):.1f}" for x, y in line.points)
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>'


def _bars(panel: Panel, line: Line, frame: _Frame, number: int, colour: str) -> list[str]:
    count = max(len(one.points) for one in panel.lines)
    wide = max((WIDTH - LEFT - RIGHT) / max(count, 1) / len(panel.lines) * 0.9, 0.5)
    bottom = frame.y(frame.floor)
    return [
        f'<rect x="{min(frame.x(_x(panel, x)) + number * wide, WIDTH - RIGHT - wide):.1f}" y="{frame.y(y):.1f}" '
        f'width="{wide:.1f}" height="{bottom - frame.y(y):.1f}" fill="{colour}"/>'
        for x, y in line.points
        if y
    ]


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#333333">{escape(text)}</text>'
    )
