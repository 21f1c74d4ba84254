"""What training cost, as the page's table."""

from collections.abc import Sequence

from benchmarks.pocket_page.markdown import table
from benchmarks.pocket_page.runs import Run

NAMES = {"clip": "CLIP", "prior": "prior", "decoder": "decoder", "upsampler": "upsampler"}


def costs_table(runs: Sequence[Run]) -> str:
    """Lays out what each run cost."""
    rows = []
    for run in runs:
        hours = run.seconds / 3600
        title = NAMES.get(run.stage, run.stage)
        rows.append(
            [
                title if run.name == run.stage else f"{title} (`{run.name}`)",
                f"{run.parameters:,}",
                f"{run.steps:,} × {run.batch_size} = {run.samples:,}",
                f"{run.points[-1].loss:.3g}",
                run.hardware.machine,
                f"{hours:.2f}",
                f"{hours * run.hardware.units:.2f} {run.hardware.unit}-hours",
            ]
        )
    header = ("stage", "parameters", "steps × batch = samples", "last loss", "on", "hours", "cost")
    return table(header, rows)


def total_cost(runs: Sequence[Run]) -> str:
    """Sums the hours of each kind of device: `3.10 CPU core-hours and 0.40 GPU-hours`."""
    sums: dict[str, float] = {}
    for run in runs:
        unit = run.hardware.unit
        sums[unit] = sums.get(unit, 0.0) + run.seconds / 3600 * run.hardware.units
    return " and ".join(f"{hours:.2f} {unit}-hours" for unit, hours in sums.items())
