"""A record as tables of Markdown."""

from benchmarks.pocket_page.markdown import table
from benchmarks.speed.engine import STAGES
from benchmarks.speed.ratios import Spread, ratio, seconds
from benchmarks.speed.record import CONTROL, REFERENCE, TOTAL, Record, Row
from benchmarks.speed.work import over_limit

NAMES = {"text": "text", "prior": "prior", "decoder": "decoder", "super_res": "super-res"}
NONE = "–"


def table_of(record: Record) -> str:
    """Lays out a record: seconds, ratios, and what else each engine took."""
    return "\n\n".join([times(record), ratios(record), costs(record)])


def times(record: Record) -> str:
    """Seconds of each stage, medians; of the whole with the extremes."""
    titles = {row.name: f"{row.title} ({row.dtype})" for row in record.rows}
    titles[CONTROL] = "the same again"
    rows = []
    for name, title in titles.items():
        stages = [f"{seconds(record, name, stage).median:.3g}" for stage in STAGES]
        whole = seconds(record, name)
        total = f"{whole.median:.3g} ({whole.low:.3g} to {whole.high:.3g})"
        rate = f"{record.about.batch / whole.median:.3g}"
        rows.append([name, title, *stages, total, rate])
    return table(["", "engine", *NAMES.values(), "total s", "pictures/s"], rows)


def ratios(record: Record) -> str:
    """How many times as fast as each peer, by stage."""
    slower = [row.name for row in record.rows if row.name.startswith("P")]
    faster = [CONTROL, *(row.name for row in record.rows if row.name != REFERENCE)]
    rows = []
    for peer in slower:
        for name in faster:
            if name.startswith("P") and peer != REFERENCE:
                continue
            cells = [short(ratio(record, peer, name, stage)) for stage in STAGES]
            rows.append([f"{peer} / {name}", *cells, long(ratio(record, peer, name, TOTAL))])
    return table(["times as fast", *NAMES.values(), "total"], rows)


def costs(record: Record) -> str:
    """Equality, calls, memory, first picture, distance to the limit."""
    rows = []
    for row in record.rows:
        same = row.compared
        found = over(record, row)
        cold = row.cold
        peak = row.peak_bytes or (cold.peak_bytes if cold else None)
        rows.append(
            [
                row.name,
                f"{same.error:.1e}" if same.error else "0",
                f"{same.psnr:.0f}" if same.psnr < 200 else "same",
                f"{sum(row.calls):,}",
                ", ".join(f"{count:,}" for count in row.calls),
                f"{peak / 1e9:.2f}" if peak else NONE,
                f"{cold.ready_seconds:.1f} / {cold.image_seconds:.1f}" if cold else NONE,
                f"{found[-1]:.2f}" if found else NONE,
                ", ".join(f"{value:.2g}" for value in found) if found else NONE,
            ]
        )
    what = "kernels" if record.about.device == "cuda" else "operations"
    header = ["", "distance", "PSNR dB", what, "by stage", "peak GB", "cold: ready / picture s"]
    return table([*header, "over the limit", "by stage, total"], rows)


def over(record: Record, row: Row) -> tuple[float, ...] | None:
    """Returns how many times the machine's limit an engine takes, by stage and in all."""
    medians = [seconds(record, row.name, stage).median for stage in STAGES]
    return over_limit(medians, record.work, record.limits, row.dtype)


def short(spread: Spread) -> str:
    """A median."""
    return f"{spread.median:.2f}"


def long(spread: Spread) -> str:
    """A median and the extremes."""
    return f"**{spread.median:.2f}** ({spread.low:.2f} to {spread.high:.2f})"
