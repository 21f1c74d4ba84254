"""`docs/speed.md` and its charts, from the records alone."""

from collections.abc import Sequence
from pathlib import Path
from string import Template

from benchmarks.pocket_page.markdown import table
from benchmarks.speed.chart import chart
from benchmarks.speed.machine import ROOT
from benchmarks.speed.ratios import ratio
from benchmarks.speed.record import CONTROL, REFERENCE, Record, read_records
from benchmarks.speed.table import NAMES, table_of
from benchmarks.speed.targets import TARGETS, missed, targets_table
from benchmarks.speed.verdict import problems
from benchmarks.speed.work import least_seconds
from unclip.errors import DataError

HERE = Path(__file__).parent
RECORDS = HERE / "records"
APPROXIMATE = HERE / "approximate.md"
"""The section on techniques that change pictures, with its own measurements."""
PAGE = ROOT / "docs" / "speed.md"


def make_page(records: Path = RECORDS, approximate: Path = APPROXIMATE) -> dict[str, str]:
    """Returns the page and its charts, by path within `docs/`.

    Raises:
        DataError: a record is missing or damaged.
    """
    found = read_records(records)
    try:
        template = Template((HERE / "page.md").read_text(encoding="utf-8"))
        section = approximate.read_text(encoding="utf-8") if approximate.exists() else ""
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}") from error
    gpu = [item for item in found if item[1].about.device == "cuda"]
    cpu = [item for item in found if item[1].about.device == "cpu"]
    text = template.substitute(
        targets=targets_table(found),
        cpu="\n\n".join(_section(*item) for item in cpu) or _NO_CPU,
        gpu="\n\n".join(_section(*item) for item in gpu) or _no_gpu(),
        missed=_missed(found),
        approximate=section.strip() or _NO_APPROXIMATE,
    )
    files = {"speed.md": text}
    for name, record in found:
        files[f"speed/{name}.svg"] = chart(record, _title(record))
    return files


def write_page(docs: Path, records: Path = RECORDS) -> str:
    """Writes the page; returns what was written.

    Raises:
        DataError: it cannot be made or written.
    """
    files = make_page(records)
    try:
        for name, text in files.items():
            path = docs / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write {error.filename}: {error.strerror}") from error
    return f"wrote {', '.join(files)} in {docs}"


_NO_CPU = "No record yet: `python -m benchmarks.against_diffusers run --shape small` makes it."
_NO_APPROXIMATE = "None has been measured yet."


def _no_gpu() -> str:
    count = sum(target.device == "cuda" for target in TARGETS)
    return (
        f"**There is no record of a GPU yet**, so the {count} targets for an H200 are open, and "
        "nothing on this page says how fast a GPU is. What a CPU can check of that side, its tests "
        "check: the two commands run on a CPU with `--device cpu --shape tiny` through the same "
        "lines."
    )


def _title(record: Record) -> str:
    about = record.about
    return f"{about.shape}, batch {about.batch}, {about.machine.name}: seconds, medians"


def _section(name: str, record: Record) -> str:
    about, machine = record.about, record.about.machine
    steps = about.steps
    unit = "CPU time of one process" if about.device == "cpu" else "CUDA events"
    threads = f", {machine.threads} thread(s)" if about.device == "cpu" else ""
    features = f" ({', '.join(machine.features)})" if about.device == "cpu" else ""
    clocks = f"; clocks {record.clocks}" if record.clocks else ""
    drift = ratio(record, REFERENCE, CONTROL)
    void = problems(record)
    lines = [
        f"### Shape `{about.shape}`, batch {about.batch}",
        f"{machine.name}{features}{threads}; "
        f"{', '.join(f'{key} {value}' for key, value in about.versions)}; "
        f"commit {about.commit}{clocks}. "
        f"{len(record.rounds)} rounds, steps {steps.prior}/{steps.decoder}/{steps.super_res}, "
        f"{unit}. The reference against itself: {drift.median:.3f} "
        f"({drift.low:.3f} to {drift.high:.3f}).",
        *(f"**Void:** {problem}." for problem in void),
        f"![Seconds by stage](speed/{name}.svg)",
        table_of(record),
        _limits(record),
    ]
    return "\n\n".join(lines)


def _limits(record: Record) -> str:
    rows = [
        [
            NAMES[work.stage],
            f"{work.plain_flop / 1e9:,.1f}",
            f"{work.flop / 1e9:,.1f}",
            f"{work.weights / 1e6:,.0f}",
            ", ".join(f"{least_seconds(work, limit):.2g}" for limit in record.limits) or "–",
        ]
        for work in record.work
    ]
    rates = [
        f"{limit.dtype}: {limit.flop_per_second / 1e9:,.0f} GFLOP/s and "
        f"{limit.bytes_per_second / 1e9:,.1f} GB/s ({limit.source})"
        for limit in record.limits
    ]
    least = f"seconds at least ({', '.join(limit.dtype for limit in record.limits) or 'unknown'})"
    heads = ["GFLOP as in diffusers", "GFLOP at least", "million weights read", least]
    counted = table(["per batch", *heads], rows)
    return f"{counted}\n\nLimits: {'; '.join(rates) or 'not known of this device'}."


def _missed(records: Sequence[tuple[str, Record]]) -> str:
    parts = []
    for target, record, value in missed(records):
        row = record.row(target.ours)
        assert row is not None, "the target was read from its row"
        rows = [[f"`{s.operation}`", f"{100 * s.share:.1f} %", f"{s.calls:,}"] for s in row.profile]
        parts.append(
            f"**{target.text}**: {value:.2f}, must {target.must:g}. Where the time of "
            f"{target.ours} goes:\n\n{table(['operation', 'share', 'calls'], rows)}"
        )
    return "\n\n".join(parts) or "No target that was measured is missed."
