"""`docs/scaling.md`: the paper's whole stack on 64 to 1,024 GPUs, by `unclip plan`'s own counting.

    python -m benchmarks.scaling_page count    # an hour of a core: counts every step again
    python -m benchmarks.scaling_page page     # the page, from what was counted

What is counted (`records/scaling.json`) are whole numbers that hang on the configurations and on
PyTorch's operations alone, on no machine.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from string import Template
from typing import NamedTuple

from benchmarks.ablations.results import write_json
from benchmarks.pocket_page.markdown import table
from benchmarks.speed.machine import ROOT
from unclip.errors import DataError, run_command
from unclip.planning.gpus import GPUS
from unclip.planning.kinds import Planned, open_run
from unclip.planning.memory import Steps
from unclip.planning.plan import MFU, Means, Option, Plan, count, lay_out, part_of
from unclip.planning.simulate import Step
from unclip.planning.text import MEMORY_COLUMNS, parts, size, tera

RECORD = ROOT / "benchmarks" / "records" / "scaling.json"
MEASURED = ROOT / "benchmarks" / "records" / "plan_memory.json"
TEMPLATE = ROOT / "benchmarks" / "scaling.md"
PAGE = ROOT / "docs" / "scaling.md"
TEXT_TOKENS = 256
"""Of the paper's captions (Table 3)."""
PRICE = 2.5
"""Dollars of an H100's hour: an example, as the page says."""
STAGES = {
    "prior": (64, 256, 1024),
    "prior_autoregressive": (64, 256, 1024),
    "decoder": (64, 256, 1024),
    "upsampler_256": (64, 256, 1024),
    "upsampler_1024": (64, 256, 512),
}
"""The paper's configurations, and the GPUs that each is planned on: no more than samples a step."""
TOGETHER = {
    "prior": 128,
    "prior_autoregressive": 256,
    "decoder": 512,
    "upsampler_256": 64,
    "upsampler_1024": 64,
}
"""1,024 GPUs, shared out so that the stages of one model end about together."""

Counted = Mapping[str, Steps]
"""By stage and samples of a GPU, `decoder:8` for instance."""


class Row(NamedTuple):
    """One stage on so many GPUs."""

    stage: str
    gpus: int
    run: Planned
    plan: Plan


@cache
def open_stage(stage: str) -> Planned:
    """Opens one of the paper's configurations."""
    return open_run(ROOT / "configs" / "paper" / f"{stage}.yaml", text_tokens=TEXT_TOKENS)


def means_of(run: Planned, gpus: int) -> Means:
    """What `unclip plan --gpus N --gpu h100 --text-tokens 256 --price 2.5` plans with."""
    return Means(
        gpu=GPUS["h100"], gpus=gpus, mfu=MFU[run.kind], price=PRICE, images=250e6, disk=2e9
    )


def layouts() -> Iterator[tuple[str, int]]:
    """All stages and GPU counts of the page."""
    for stage, counts in STAGES.items():
        for gpus in sorted({*counts, TOGETHER[stage]}):
            yield stage, gpus


def key_of(stage: str, run: Planned, gpus: int) -> str:
    """Names what is counted: GPUs with the same share count the same."""
    return f"{stage}:{part_of(run.train, gpus)}"


def count_all(path: Path) -> str:
    """Counts what the record does not have yet."""
    found = {} if not path.exists() else json.loads(path.read_text(encoding="utf-8"))
    for stage, gpus in layouts():
        run = open_stage(stage)
        key = key_of(stage, run, gpus)
        if key not in found:
            found[key] = asdict(count(run, means_of(run, gpus)))
            write_json(path, found)
    return f"wrote {path}"


def read_counts(path: Path) -> Counted:
    """Reads the record.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {
            key: Steps(plain=Step(**item["plain"]), recomputed=Step(**item["recomputed"]))
            for key, item in found.items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} holds no counts: python -m benchmarks.scaling_page count"
        ) from error


def make_page(counted: Counted) -> str:
    """Returns the page."""
    rows = []
    for stage, gpus in layouts():
        run = open_stage(stage)
        steps = counted[key_of(stage, run, gpus)]
        rows.append(Row(stage, gpus, run, lay_out(run, means_of(run, gpus), steps)))
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    on_256 = [row for row in rows if row.gpus == 256]
    together = [row for row in rows if TOGETHER[row.stage] == row.gpus]
    diffusion = [row for row in together if row.stage != "prior_autoregressive"]
    grown = [row for row in rows if row.gpus in STAGES[row.stage]]
    return template.substitute(
        sizes=_sizes(on_256),
        memory=_memory(on_256),
        days=_days(grown),
        together=_days(together),
        all_gpus=f"{sum(row.gpus for row in together):,}",
        all_days=f"{max(_best(row).days for row in together):.1f}",
        some_gpus=f"{sum(row.gpus for row in diffusion):,}",
        some_days=f"{max(_best(row).days for row in diffusion):.1f}",
        some_hours=f"{sum(_best(row).gpu_hours for row in diffusion):,.0f}",
        some_cost=f"{sum(_best(row).cost or 0 for row in diffusion):,.0f}",
        measured=_measured(MEASURED),
        storage=_storage(on_256),
        decoder=_decoder(next(row for row in on_256 if row.stage == "decoder")),
    )


def _measured(path: Path) -> str:
    """What `benchmarks.plan_memory` found."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["stages"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} is no record: python -m benchmarks.plan_memory") from error
    return ", ".join(f"{stage} {values['ratio']:.2f}" for stage, values in found.items())


def _best(row: Row) -> Option:
    best = row.plan.best
    assert best is not None, f"{row.stage} does not fit on {row.gpus} GPUs"
    return best


def _sizes(rows: Sequence[Row]) -> str:
    heads = ["stage", "parameters", "TFLOP forward", "TFLOP in training", "steps", "batch", "EFLOP"]
    cells = [
        [
            f"`{row.stage}`",
            f"{row.plan.parameters:,}",
            tera(row.plan.forward_flops),
            tera(row.plan.train_flops),
            f"{row.plan.steps:,}",
            f"{row.plan.batch:,}",
            f"{row.plan.train_flops * row.plan.batch * row.plan.steps / 1e18:,.0f}",
        ]
        for row in rows
    ]
    return table(heads, cells)


def _memory(rows: Sequence[Row]) -> str:
    heads = ["stage", "laid out", "fits 80 GB", "GB a GPU", *MEMORY_COLUMNS[:-1]]
    cells = [
        [
            f"`{row.stage}`, {row.plan.batch_per_gpu} a GPU",
            option.name,
            "yes" if option.fits else "**no**",
            f"{option.memory.total / 1e9:,.1f}",
            *(f"{value / 1e9:,.1f}" for value in parts(option.memory)[:-1]),
        ]
        for row in rows
        for option in row.plan.options
    ]
    return table(heads, cells)


def _days(rows: Sequence[Row]) -> str:
    heads = [
        "stage",
        "H100",
        "a GPU",
        "laid out",
        "images/s",
        "ms a step",
        "waiting",
        "days",
        "GPU-hours",
        "dollars",
    ]
    cells = []
    for row in rows:
        best = _best(row)
        cells.append(
            [
                f"`{row.stage}`",
                f"{row.gpus:,}",
                str(row.plan.batch_per_gpu),
                best.name,
                f"{best.images_per_second:,.0f}",
                f"{1000 * best.step_seconds:,.0f}",
                f"{best.waiting:.0%}",
                f"{best.days:.2f}",
                f"{best.gpu_hours:,.0f}",
                f"{best.cost or 0:,.0f}",
            ]
        )
    return table(heads, cells)


def _storage(rows: Sequence[Row]) -> str:
    heads = [
        "stage",
        "data set",
        "read at 256 GPUs",
        "a checkpoint",
        "written by one",
        "by 32 nodes",
    ]
    cells = []
    for row in rows:
        times = {option.name: option.checkpoint_seconds for option in row.plan.options}
        cells.append(
            [
                f"`{row.stage}`",
                size(row.plan.dataset_bytes),
                f"{size(_best(row).loader_bytes_per_second)}/s",
                size(row.plan.checkpoint_bytes),
                f"{times['ddp']:.1f} s",
                f"{times['fsdp2']:.1f} s",
            ]
        )
    return table(heads, cells)


def _decoder(row: Row) -> str:
    best = _best(row)
    return (
        f"{best.name}, {best.memory.total / 1e9:.1f} GB a GPU, {best.images_per_second:,.0f} "
        f"images/s, {best.days:.2f} days, {best.gpu_hours:,.0f} GPU-hours"
    )


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling_page")
    parser.add_argument("what", choices=("count", "page"))
    options = parser.parse_args(argv)
    if options.what == "count":
        return run_command(lambda: count_all(RECORD))
    return run_command(write_page)


def write_page() -> str:
    """Writes the page; returns what was written.

    Raises:
        DataError: the record is missing or damaged.
    """
    PAGE.write_text(make_page(read_counts(RECORD)), encoding="utf-8")
    return f"wrote {PAGE}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
