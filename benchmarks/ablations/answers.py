"""Questions to rows: tries the arms that are asked for, one after the other, and gathers all that
was ever found."""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ablations.exam import Exam, grade
from benchmarks.ablations.questions import Arm, Question, read_questions
from benchmarks.ablations.results import ROWS, Result, row, table, write_json
from unclip.evaluation.judge import Judge


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """An arm that can be tried."""

    kept: Callable[[], Result | None]
    """Its result, if it was tried before."""
    measure: Callable[[], object]
    """Tries it, and keeps the result."""


def common_options(prog: str, table: Path, *, seen: int, heldout: int) -> argparse.ArgumentParser:
    """Returns a parser with what both commands are told."""
    parser = argparse.ArgumentParser(prog=prog)
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help="by default all")
    parser.add_argument("--set", type=Path, required=True, help="what unclip data built")
    parser.add_argument("--judge", type=Path, required=True, help="stage folder of the judge")
    parser.add_argument("--out", type=Path, required=True, help="results, and rows.json")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="no arm begins after so many"
    )
    parser.add_argument("--table", type=Path, default=table, help="YAML file of the questions")
    parser.add_argument("--seen", type=int, default=seen, help="seen scenes that are painted")
    parser.add_argument("--heldout", type=int, default=heldout, help="held-out ones")
    return parser


def answer(
    options: argparse.Namespace,
    plan: Callable[[Question, Arm], Trial],
    judge: Judge,
    exam: Exam,
) -> str:
    """Tries the arms of the questions asked for that have no result yet; returns the table, and
    writes the rows, of all questions whose arms all have one.

    Raises:
        ConfigError: there is no such question, or an arm cannot be tried.
    """
    begun = time.monotonic()
    chosen = [question.key for question in read_questions(options.table, options.questions)]
    questions = read_questions(options.table)
    trials = {(q.key, arm.name): plan(q, arm) for q in questions for arm in q.arms}
    left = 0
    for (key, name), trial in trials.items():
        if key not in chosen or trial.kept() is not None:
            continue
        if time.monotonic() - begun > 60 * options.minutes:
            left += 1
            continue
        print(f"{key}: {name}", flush=True)
        trial.measure()
    lines = table(_write(options.out, questions, trials, judge, exam))
    return "\n".join([*lines, *([f"{left} arms are left: run this again"] if left else [])])


def _write(
    out: Path,
    questions: Sequence[Question],
    trials: dict[tuple[str, str], Trial],
    judge: Judge,
    exam: Exam,
) -> list[dict]:
    truth = grade(judge, exam, exam.truth)
    rows = []
    for question in questions:
        kept = [trials[question.key, arm.name].kept() for arm in question.arms]
        results = [result for result in kept if result is not None]
        if len(results) == len(question.arms):
            rows.append(row(question, results, truth))
    write_json(out / ROWS, rows)
    return rows
