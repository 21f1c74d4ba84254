"""What was tried side by side, as tables: the rows that `benchmarks/ablations` writes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.pocket_page.figures import read_json
from benchmarks.pocket_page.markdown import table
from unclip.errors import DataError

SHARES = "retrieval"
"""Figures of such names are told in per cent."""


def ablations(path: Path) -> str:
    """Lays out a table for each question.

    Raises:
        DataError: it cannot be read, or has a row of another form.
    """
    try:
        return "\n\n".join(_question(row) for row in read_json(path))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{path} has no rows of ablations: {error!r}") from error


def _question(row: Mapping[str, Any]) -> str:
    figures = list(dict.fromkeys(name for arm in row["arms"] for name in arm["figures"]))
    costs = list(dict.fromkeys(name for arm in row["arms"] for name in arm["cost"]))
    real = [{"name": "real pictures", "figures": row["real"], "cost": {}}]
    lines = []
    for arm in [*row["arms"], *real]:
        cells = [_figure(name, arm["figures"].get(name)) for name in figures]
        cells += [f"{arm['cost'][name]:.4g}" if name in arm["cost"] else "" for name in costs]
        lines.append([arm["name"], *cells])
    header = [name.replace("_", " ") for name in ("arm", *figures, *costs)]
    kept = row["kept"] or "not decided"
    return f"**{row['question']}** Kept: {kept}.\n\n{table(header, lines)}"


def _figure(name: str, estimate: Mapping[str, float] | None) -> str:
    if estimate is None:
        return ""
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    if name.startswith(SHARES):
        return f"{100 * value:.0f} % ({100 * low:.0f} to {100 * high:.0f})"
    return f"{value:.3f} ({low:.3f} to {high:.3f})"
