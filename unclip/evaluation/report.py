"""The suite's figures as a table for people and as plain data for programs."""

from collections.abc import Sequence
from typing import Any

from unclip.config import to_dict
from unclip.evaluation.figures import Figure
from unclip.evaluation.intervals import Estimate
from unclip.evaluation.measure import Measured, score

HEADER = ("figure", "model", "95 %", "real", "95 %", "n")


def table(figures: Sequence[Figure]) -> list[str]:
    """Lays figures out in columns; shares are told in per cent."""
    rows = [HEADER, *(row(figure) for figure in figures)]
    widths = [max(len(each[column]) for each in rows) for column in range(len(HEADER))]
    lines = []
    for each in rows:
        cells = [each[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(each[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


def row(figure: Figure) -> tuple[str, ...]:
    """One figure's cells, in the order of `HEADER`."""
    made, real = figure.made, figure.real
    text = figure.text if figure.reals == "real" else f"{figure.text} ({figure.reals})"
    ceiling = ("-", "") if real is None else (_number(real.value, figure), _interval(real, figure))
    return (text, _number(made.value, figure), _interval(made, figure), *ceiling, str(made.count))


def _number(value: float, figure: Figure) -> str:
    if figure.unit == "share":
        return f"{100 * value:.1f} %"
    return f"{value:.2f} {figure.unit}".rstrip() if figure.unit else f"{value:.3f}"


def _interval(estimate: Estimate, figure: Figure) -> str:
    if estimate.low == estimate.high == estimate.value and estimate.count > 1:
        return ""
    factor, digits = (100, 0) if figure.unit == "share" else (1, 2)
    digits = digits if figure.unit else 3
    return f"{factor * estimate.low:.{digits}f} to {factor * estimate.high:.{digits}f}"


def as_data(measured: Measured) -> dict[str, Any]:
    """Returns all figures as plain data, shares in [0, 1], by key."""
    figures = {figure.key: to_dict(figure) for figure in measured.figures}
    for values in figures.values():
        del values["key"]
    return {
        "world": measured.world,
        "judge": measured.judge,
        "score": score(measured),
        "figures": figures,
        "left_out": list(measured.left_out),
    }
