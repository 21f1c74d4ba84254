"""Plots as inline SVG: histograms of cosines, and figures with their intervals."""

import html
import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from unclip.evaluation.figures import Figure
from unclip.evaluation.intervals import Estimate

WIDTH, HEIGHT = 460, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 28, 34
BINS = 30
SERIES = ("made", "real")
"""Classes of the page's style: the model's and the real pictures'."""


def histogram(title: str, values: Mapping[str, Float[Tensor, " count"]], unit: str) -> str:
    """Draws how values are spread, one outline a series (two at most), as shares of each.

    Args:
        values: by the series' name.
        unit: what stands under the axis.
    """
    everything = torch.cat([each.double() for each in values.values()])
    low, high = widened(float(everything.min()), float(everything.max()))
    counts = {
        name: torch.histc(each.double(), BINS, low, high) / len(each)
        for name, each in values.items()
    }
    top = max(float(count.max()) for count in counts.values())
    parts = [*_axis(low, high), _text(WIDTH / 2, HEIGHT - 4, unit, "middle")]
    for place, (name, count) in enumerate(counts.items()):
        points = [f"{LEFT},{HEIGHT - BOTTOM}"]
        for i, share in enumerate(count.tolist()):
            y = HEIGHT - BOTTOM - share / top * (HEIGHT - TOP - BOTTOM)
            points += [
                f"{_x(i / BINS, 0, 1):.1f},{y:.1f}",
                f"{_x((i + 1) / BINS, 0, 1):.1f},{y:.1f}",
            ]
        points.append(f"{WIDTH - RIGHT},{HEIGHT - BOTTOM}")
        kind = SERIES[place]
        parts.append(f'<polygon class="{kind}" points="{" ".join(points)}"/>')
        x = WIDTH - RIGHT - 75 * (2 - place)
        parts.append(f'<rect class="{kind}" x="{x}" y="7" width="10" height="10"/>')
        parts.append(_text(x + 15, 16, name))
    return _svg(title, parts, HEIGHT)


def dots(title: str, figures: Sequence[Figure]) -> str:
    """Draws figures of one scale as dots with their intervals, the real ones' beside them."""
    estimates = [each for f in figures for each in (f.made, f.real) if each is not None]
    low, high = widened(
        min(0.0, *(each.low for each in estimates)), max(each.high for each in estimates)
    )
    height = TOP + 30 * len(figures) + BOTTOM
    left = 230
    parts = _axis(low, high, height, left)
    for row, figure in enumerate(figures):
        y = TOP + 30 * row + 15
        parts.append(_text(left - 8, y + 4, figure.text, "end"))
        parts += _dot(figure.made, "made", y - 3, low, high, left)
        if figure.real is not None:
            parts += _dot(figure.real, "real", y + 5, low, high, left)
    return _svg(title, parts, height)


def widened(low: float, high: float) -> tuple[float, float]:
    """Returns a range with some room, and never of no width."""
    room = 0.04 * (high - low) or max(abs(high), 1.0) * 0.04
    return low - room, high + room


def _dot(
    each: Estimate, kind: str, y: float | int, low: float, high: float, left: int
) -> list[str]:
    first, middle, last = (_x(v, low, high, left) for v in (each.low, each.value, each.high))
    return [
        f'<line class="{kind}" x1="{first:.1f}" x2="{last:.1f}" y1="{y}" y2="{y}"/>',
        f'<circle class="{kind}" cx="{middle:.1f}" cy="{y}" r="3.5"/>',
    ]


def _x(value: float | int, low: float | int, high: float | int, left: int = LEFT) -> float:
    return left + (value - low) / (high - low) * (WIDTH - RIGHT - left)


def _axis(low: float, high: float, height: int = HEIGHT, left: int = LEFT) -> list[str]:
    base = height - BOTTOM
    parts = [f'<line class="axis" x1="{left}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>']
    step = _step(high - low)
    tick = math.ceil(low / step) * step
    digits = max(0, -math.floor(math.log10(step)))
    while tick <= high:
        x = _x(tick, low, high, left)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{base}"/>')
        parts.append(_text(x, base + 14, f"{tick + 0.0:.{digits}f}", "middle"))
        tick += step
    return parts


def _step(span: float) -> float:
    """A round distance of ticks, of which four to ten fit."""
    power = 10 ** math.floor(math.log10(span / 4))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= span / 4)


def _text(x: float | int, y: float | int, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _svg(title: str, parts: Sequence[str], height: int) -> str:
    head = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(title)}">'
    return "\n".join([head, _text(LEFT, 16, title), *parts, "</svg>"])
