"""The losses of all runs as one small SVG, a panel for each."""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from benchmarks.pocket_page.runs import Run
from unclip.errors import DataError

COLUMNS = 3
PANEL = (300, 190)
"""Width and height, in pixels."""
LEFT, TOP, RIGHT, BOTTOM = 48, 28, 12, 34


def losses_svg(runs: Sequence[Run]) -> str:
    """Draws the loss over the samples seen, on a logarithmic axis.

    Raises:
        DataError: a loss is not above 0.
    """
    assert runs, "there is a run to draw"
    width, height = COLUMNS * PANEL[0], -(-len(runs) // COLUMNS) * PANEL[1]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, run in enumerate(runs):
        left, top = number % COLUMNS * PANEL[0], number // COLUMNS * PANEL[1]
        parts += [f'<g transform="translate({left} {top})">', *_panel(run), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panel(run: Run) -> list[str]:
    points = run.points
    low, high = min(p.loss for p in points), max(p.loss for p in points)
    if low <= 0:
        raise DataError(f"the run {run.name} has a loss of {low}, expected it above 0")
    ticks = _ticks(low, high)
    bottom, top = math.log(min(low, ticks[0])), math.log(max(high, ticks[-1]))
    end, inner = points[-1].samples, (PANEL[0] - LEFT - RIGHT, PANEL[1] - TOP - BOTTOM)

    def x(samples: float) -> float:
        return LEFT + inner[0] * samples / end

    def y(loss: float) -> float:
        return TOP + inner[1] * (top - math.log(loss)) / max(top - bottom, 1e-9)

    lines = [f'<text x="{LEFT}" y="16" font-weight="bold">{escape(run.name)}: loss</text>']
    lines += [
        f'<path d="M{LEFT} {y(tick):.1f}H{PANEL[0] - RIGHT}" stroke="#ddd"/>'
        f'<text x="{LEFT - 5}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in ticks
    ]
    curve = " ".join(f"{x(p.samples):.1f},{y(p.loss):.1f}" for p in points)
    foot = PANEL[1] - BOTTOM + 16
    return [
        *lines,
        f'<polyline points="{curve}" fill="none" stroke="#2563eb" stroke-width="1.5"/>',
        f'<text x="{LEFT}" y="{foot}">0</text>',
        f'<text x="{PANEL[0] - RIGHT}" y="{foot}" text-anchor="end">{end:,} samples</text>',
    ]


def _ticks(low: float, high: float) -> list[float]:
    """Round values that enclose a range: 1, 2 and 5 times powers of ten."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    values = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
    first = max(value for value in values if value <= low)
    last = min(value for value in values if value >= high)
    return [value for value in values if first <= value <= last]
