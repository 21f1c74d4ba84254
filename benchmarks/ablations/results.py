"""Figures and costs of arms: kept one by one, and gathered by question as JSON and as a table."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ablations.exam import Grades
from benchmarks.ablations.questions import Question
from unclip.config import to_dict

ROWS = "rows.json"
SHARE = "retrieval"
"""Figures of this name are told in per cent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """An arm that was measured."""

    grades: Grades
    cost: dict[str, float]


def slug(*parts: str) -> str:
    """Makes a file's name of words."""
    return "".join(c if c.isalnum() or c in "-." else "_" for c in "-".join(parts))


def write_json(path: Path, data: object) -> None:
    """Writes a file that is there whole, or as it was before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    os.replace(beside, path)


def keep_result(path: Path, about: Mapping[str, object], result: Result) -> None:
    """Writes an arm's result, and what it is the result of."""
    write_json(path, {"about": about, "grades": to_dict(result.grades), "cost": result.cost})


def kept_result(path: Path, about: Mapping[str, object]) -> Result | None:
    """Returns the result that was kept, if it is the result of that."""
    if not path.is_file():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    if data["about"] != about:
        return None
    return Result(grades=Grades(**data["grades"]), cost=data["cost"])


def row(question: Question, results: Sequence[Result], truth: Grades) -> dict[str, Any]:
    """Returns a question's row: the results of its arms in order, gains over the first."""
    arms = [
        {
            "name": arm.name,
            "figures": _plain(result.grades, results[0].grades),
            "cost": result.cost,
        }
        for arm, result in zip(question.arms, results, strict=True)
    ]
    about = {"key": question.key, "question": question.question, "kept": question.kept}
    return about | {"arms": arms, "real": _plain(truth)}


def _plain(grades: Grades, baseline: Grades | None = None) -> dict[str, Any]:
    return {name: to_dict(figure) for name, figure in grades.figures(baseline).items()}


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lays rows out for people."""
    lines = []
    for each in rows:
        lines.append(f"{each['question']} (kept: {each['kept'] or 'not decided'})")
        for arm in [*each["arms"], {"name": "real pictures", "figures": each["real"], "cost": {}}]:
            cells = [_cell(name, figure) for name, figure in arm["figures"].items()]
            cells += [f"{name} {value:.4g}" for name, value in arm["cost"].items()]
            lines.append(f"  {arm['name']:34}{'  '.join(cells)}")
    return lines


def _cell(name: str, figure: Mapping[str, float]) -> str:
    values = (figure["value"], figure["low"], figure["high"])
    if name.startswith(SHARE):
        value, low, high = (f"{100 * each:.0f}" for each in values)
        return f"{name} {value} % ({low} to {high})"
    value, low, high = (f"{each:.3f}" for each in values)
    return f"{name} {value} ({low} to {high})"
