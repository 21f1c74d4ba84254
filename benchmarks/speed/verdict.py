"""Whether a record holds: equal pictures, whole rounds, and a reference that agrees with itself."""

from dataclasses import replace

from benchmarks.speed.compare import MAX_SATURATED
from benchmarks.speed.engine import STAGES
from benchmarks.speed.ratios import ratio
from benchmarks.speed.record import CONTROL, REFERENCE, Record

MAX_DRIFT = 0.03
"""Of the reference's median ratio to itself."""
MIN_ROUNDS = 7


def problems(record: Record, min_rounds: int = MIN_ROUNDS) -> list[str]:
    """Returns why a record is void or not whole, a line each."""
    found = []
    for row in record.rows:
        if not row.compared.finite:
            found.append(f"{row.name}: its pictures have values that are not finite")
        elif not row.compared.equal:
            found.append(
                f"{row.name}: its pictures are not the reference's (relative distance "
                f"{row.compared.error:.2g}, {row.compared.psnr:.1f} dB)"
            )
        if row.compared.saturated > MAX_SATURATED:
            found.append(f"{row.name}: {row.compared.saturated:.0%} of the values are saturated")
    names = {row.name for row in record.rows}
    whole = [turn for turn in record.rounds if {t.engine for t in turn} == names | {CONTROL}]
    if len(whole) != len(record.rounds):
        found.append(f"{len(record.rounds) - len(whole)} rounds are not of all engines")
    if len(whole) < min_rounds:
        found.append(f"{len(whole)} rounds, expected {min_rounds} or more")
    if any(len(timed.seconds) != len(STAGES) for turn in whole for timed in turn):
        found.append(f"a run has not the stages {', '.join(STAGES)}")
    elif whole and abs(drift := _drift(replace(record, rounds=tuple(whole)))) > MAX_DRIFT:
        found.append(
            f"the reference differs from itself by {abs(drift):.1%}, "
            f"expected {MAX_DRIFT:.0%} or less: void"
        )
    return found


def _drift(record: Record) -> float:
    return ratio(record, REFERENCE, CONTROL).median - 1
