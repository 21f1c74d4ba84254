"""What was aimed at, and what was reached."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.pocket_page.markdown import table
from benchmarks.speed.ratios import ratio
from benchmarks.speed.record import TOTAL, Record
from benchmarks.speed.table import over
from unclip.errors import DataError

Read = Callable[[Record], float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A row of the table of targets."""

    text: str
    shape: str
    device: str
    batch: int
    read: Read
    """Of a record; None where it has not the engines for it."""
    must: float
    aim: float
    less_is_better: bool = False
    ours: str = "U0"
    """The engine whose profile explains a miss."""

    def verdict(self, value: float) -> str:
        """In a word."""
        sign = -1 if self.less_is_better else 1
        if sign * value >= sign * self.aim:
            return "aim reached"
        return "must reached" if sign * value >= sign * self.must else "**missed**"


def _times(slow: str, fast: str, stage: str = TOTAL) -> Read:
    def read(record: Record) -> float | None:
        names = {row.name for row in record.rows}
        return ratio(record, slow, fast, stage).median if {slow, fast} <= names else None

    return read


def _over(record: Record) -> float | None:
    row = record.row("U0")
    found = over(record, row) if row else None
    return found[-1] if found else None


def _cpu(text: str, slow: str, fast: str, must: float, aim: float, *, stage: str = TOTAL) -> Target:
    return Target(
        text=f"CPU, {text}",
        shape="small",
        device="cpu",
        batch=1,
        read=_times(slow, fast, stage),
        must=must,
        aim=aim,
        ours=fast,
    )


def _gpu(
    text: str, read: Read, must: float, aim: float, batch: int = 1, less: bool = False
) -> Target:
    return Target(
        text=f"H200, batch {batch}, {text}",
        shape="karlo",
        device="cuda",
        batch=batch,
        read=read,
        must=must,
        aim=aim,
        less_is_better=less,
    )


TARGETS: Sequence[Target] = (
    _cpu("equal output, float32, against P0", "P0", "U0", 1.6, 2.3),
    _cpu("equal steps, bfloat16, against P0", "P0", "U0-bf16", 3.4, 5.0),
    _cpu("equal steps, bfloat16, against P0 in bfloat16", "P0-bf16", "U0-bf16", 1.5, 2.2),
    _cpu("the prior alone, float32, against P0", "P0", "U0", 13, 20, stage="prior"),
    _cpu("the prior alone, bfloat16, against P0", "P0", "U0-bf16", 26, 40, stage="prior"),
    _cpu("drafts, against P0", "P0", "U1", 10, 25),
    _gpu("equal output, against P0", _times("P0", "U0"), 2.5, 3.5),
    _gpu("equal output, against P1", _times("P1", "U0"), 1.15, 1.4),
    _gpu("time over the machine's limit", _over, 2.0, 1.6, less=True),
    _gpu("pictures a second, against P1", _times("P1", "U0"), 1.15, 1.3, batch=64),
)


def find(target: Target, records: Sequence[tuple[str, Record]]) -> tuple[Record, float] | None:
    """Returns the record that answers a target, and its value.

    Raises:
        DataError: two records answer it.
    """
    found = [
        (name, record, value)
        for name, record in records
        if (record.about.shape, record.about.device, record.about.batch)
        == (target.shape, target.device, target.batch)
        and (value := target.read(record)) is not None
    ]
    if len(found) > 1:
        names = ", ".join(name for name, _, _ in found)
        raise DataError(f"the records {names} all answer {target.text!r}: keep one of them")
    return found[0][1:] if found else None


def targets_table(records: Sequence[tuple[str, Record]]) -> str:
    """Lays out all targets."""
    rows = []
    for target in TARGETS:
        answer = find(target, records)
        sign, unit = ("≤ ", "") if target.less_is_better else ("", " ×")
        got = (
            [f"{answer[1]:.2f}{unit}", target.verdict(answer[1])]
            if answer
            else ["–", "not measured"]
        )
        rows.append(
            [target.text, f"{sign}{target.must:g}{unit}", f"{sign}{target.aim:g}{unit}", *got]
        )
    return table(["target", "must", "aim", "measured", ""], rows)


def missed(records: Sequence[tuple[str, Record]]) -> list[tuple[Target, Record, float]]:
    """Returns the targets whose must is missed."""
    answers = [(target, find(target, records)) for target in TARGETS]
    return [
        (target, *answer)
        for target, answer in answers
        if answer and target.verdict(answer[1]) == "**missed**"
    ]
