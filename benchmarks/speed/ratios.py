"""Ratios of engines, round by round: a machine that slows down slows both sides of each."""

import statistics
from typing import NamedTuple

from benchmarks.speed.engine import STAGES
from benchmarks.speed.record import TOTAL, Record, Timed


class Spread(NamedTuple):
    """The median over the rounds, and the extremes."""

    median: float
    low: float
    high: float


def spread(values: list[float]) -> Spread:
    """Summarises; there is at least one value."""
    return Spread(statistics.median(values), min(values), max(values))


def seconds_of(record: Record, engine: str, stage: str = TOTAL) -> list[float]:
    """Returns an engine's times of a stage, a value a round."""
    return [
        _stage(timed, stage) for turn in record.rounds for timed in turn if timed.engine == engine
    ]


def seconds(record: Record, engine: str, stage: str = TOTAL) -> Spread:
    """Summarises an engine's times."""
    return spread(seconds_of(record, engine, stage))


def ratio(record: Record, slow: str, fast: str, stage: str = TOTAL) -> Spread:
    """How many times as long `slow` takes as `fast`: the median of the rounds' own ratios."""
    pairs = zip(seconds_of(record, slow, stage), seconds_of(record, fast, stage), strict=True)
    return spread([a / b for a, b in pairs])


def _stage(timed: Timed, stage: str) -> float:
    return timed.total if stage == TOTAL else timed.seconds[STAGES.index(stage)]
