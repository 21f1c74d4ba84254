"""The suite's table with intervals, before and after, beside real pictures and the targets."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.pocket_page.markdown import table
from unclip.config import from_dict
from unclip.errors import DataError
from unclip.evaluation.intervals import Estimate

WITH_SET = "the set "
"""What the name of a world begins with that was composed of a set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What a figure is to reach."""

    least: float
    of_real: bool = False
    """`least` is a share of the same figure of real pictures."""


TARGETS: Mapping[str, Target] = {
    "retrieval_seen": Target(least=0.9, of_real=True),
    "retrieval_heldout_compositions": Target(least=0.75, of_real=True),
    "colour": Target(least=0.95),
    "grey": Target(least=0.98),
    "sides": Target(least=0.85),
    "count": Target(least=0.70),
    "psnr_gain_256": Target(least=3.0),
    "psnr_gain_1024": Target(least=3.0),
    "astronaut": Target(least=6 / 8),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A figure of the JSON of `unclip eval`."""

    text: str
    unit: str
    made: Estimate
    real: Estimate | None
    reals: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What `unclip eval --json` printed of one model."""

    model: str
    """The model's hash."""
    judge: str
    """The judge's fingerprint."""
    score: float
    rows: Mapping[str, Row]
    left_out: tuple[str, ...]


def read_figures(path: Path) -> Figures:
    """Reads the JSON of `unclip eval`.

    Raises:
        DataError: it cannot be read, is none, or was measured without a set.
        ConfigError: a figure of it has another form.
    """
    data = read_json(path)
    try:
        rows = {
            key: from_dict(Row, values, f"{path}: {key}") for key, values in data["figures"].items()
        }
        if not data["world"].startswith(WITH_SET):
            raise DataError(f"{path} is of {data['world']}: measure with unclip eval --set DIR")
        return Figures(
            model=data["model"]["hash"],
            judge=data["judge"],
            score=float(data["score"]),
            rows=rows,
            left_out=tuple(data["left_out"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not what unclip eval --json prints: {error!r}") from error


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        DataError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path} as JSON: {error}") from error


def figures_table(after: Figures, before: Figures | None) -> str:
    """Lays out all figures of the model, beside an earlier one's, and what was not measured.

    Raises:
        DataError: the two were measured by different judges, so that they do not compare.
    """
    if before is not None and before.judge != after.judge:
        raise DataError(
            f"the figures before are of the judge {before.judge}, those after of {after.judge}: "
            "measure both with one judge"
        )
    columns = ["figure", *(["before"] if before else []), "model", "real", "n", "target", "reached"]
    rows = []
    for key, row in after.rows.items():
        earlier = before.rows.get(key) if before else None
        cells = [row.text if row.reals == "real" else f"{row.text} ({row.reals})"]
        cells += [_cell(earlier.made if earlier else None, row.unit)] if before else []
        cells += [_cell(row.made, row.unit), _cell(row.real, row.unit), str(row.made.count)]
        rows.append([*cells, *_judged(key, row)])
    left_out = f"\n\nNot measured: {'; '.join(after.left_out)}." if after.left_out else ""
    return table(columns, rows) + left_out


def reached(key: str, row: Row) -> bool | None:
    """Says whether a figure's target is reached; None where it has none."""
    least = _least(key, row)
    return None if least is None else row.made.value >= least


def _least(key: str, row: Row) -> float | None:
    target = TARGETS.get(key)
    if target is None:
        return None
    if not target.of_real:
        return target.least
    return None if row.real is None else target.least * row.real.value


def _judged(key: str, row: Row) -> list[str]:
    """The cells of the target, and of whether it is reached."""
    least, is_reached = _least(key, row), reached(key, row)
    if least is None or is_reached is None:
        return ["", ""]
    share = f" ({TARGETS[key].least:g} × real)" if TARGETS[key].of_real else ""
    return [f"{_number(least, row.unit)}{share}", "yes" if is_reached else "**no**"]


def _cell(estimate: Estimate | None, unit: str) -> str:
    if estimate is None:
        return "–"
    value = _number(estimate.value, unit)
    if estimate.low == estimate.high == estimate.value and estimate.count > 1:
        return value  # FID, which has no interval
    factor, digits = (100, 0) if unit == "share" else (1, 2 if unit else 3)
    return f"{value} ({factor * estimate.low:.{digits}f} to {factor * estimate.high:.{digits}f})"


def _number(value: float, unit: str) -> str:
    if unit == "share":
        return f"{100 * value:.1f} %"
    return f"{value:.2f} {unit}" if unit else f"{value:.3f}"
