"""What training cost: read from the runs' logs, beside the hardware that their maker names."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError

from benchmarks.pocket_page.markdown import table
from benchmarks.pocket_page.model import count_parameters
from unclip.checkpoint import CONFIG, WEIGHTS
from unclip.config import from_dict
from unclip.errors import DataError

NAMES = {"clip": "CLIP", "prior": "prior", "decoder": "decoder", "upsampler": "upsampler"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Hardware:
    """What a run was trained on."""

    machine: str
    """In words, as the table shows it."""
    unit: str
    """What is counted: `GPU` or `CPU core`."""
    units: int
    """How many of them the run had to itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A line of a log."""

    samples: int
    """Seen since the run began."""
    loss: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A training run."""

    name: str
    stage: str
    parameters: int
    steps: int
    batch_size: int
    seconds: float
    """In training steps, by the log's pictures a second; starts, saves and sheets are left out."""
    points: tuple[Point, ...]

    @property
    def samples(self) -> int:
        """Seen in all."""
        return self.steps * self.batch_size


def read_run(folder: Path) -> Run:
    """Reads a run's folder: its settings, its log and its exported stage.

    Raises:
        DataError: it is no run, its log has no loss, or it was not finished.
    """
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
        log = [json.loads(line) for line in lines]
        stage = json.loads((folder / "final" / CONFIG).read_text(encoding="utf-8"))["stage"]
        parameters = count_parameters(folder / "final" / WEIGHTS).total()
        batch_size = int(config["train"]["batch_size"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError, SafetensorError) as error:
        raise DataError(f"{folder} is no finished training run: {error}") from error
    points = [
        Point(samples=line["step"] * batch_size, loss=line["loss"])
        for line in log
        if "loss" in line  # the figures of a step that was refused have none
    ]
    if not points:
        raise DataError(f"the log of {folder} has no loss: train it, or leave it out")
    return Run(
        name=folder.resolve().name,
        stage=stage,
        parameters=parameters,
        steps=log[-1]["step"],
        batch_size=batch_size,
        seconds=_seconds(log, batch_size),
        points=tuple(points),
    )


def _seconds(log: Sequence[Mapping[str, Any]], batch_size: int) -> float:
    seconds, before = 0.0, 0
    for line in log:
        seconds += (line["step"] - before) * batch_size / line["images_per_second"]
        before = line["step"]
    return seconds


def read_hardware(path: Path, runs: Sequence[Run]) -> dict[str, Hardware]:
    """Reads what each run was trained on, a YAML or JSON file of `RUN: {machine, unit, units}`.

    Raises:
        DataError: it cannot be read, or says nothing of a run.
        ConfigError: an entry has another form.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"cannot read the hardware in {path}: {error}") from error
    found = data if isinstance(data, dict) else {}
    missing = [run.name for run in runs if not isinstance(found.get(run.name), dict)]
    if missing:
        raise DataError(
            f"{path} says nothing of {', '.join(missing)}, expected RUN: {{machine, unit, units}}"
        )
    return {run.name: from_dict(Hardware, found[run.name], f"{path}: {run.name}") for run in runs}


def costs_table(runs: Sequence[Run], hardware: Mapping[str, Hardware]) -> str:
    """Lays out what each run cost."""
    rows = []
    for run in runs:
        on = hardware[run.name]
        hours = run.seconds / 3600
        title = NAMES.get(run.stage, run.stage)
        rows.append(
            [
                title if run.name == run.stage else f"{title} (`{run.name}`)",
                f"{run.parameters:,}",
                f"{run.steps:,} × {run.batch_size} = {run.samples:,}",
                f"{run.points[-1].loss:.3g}",
                on.machine,
                f"{hours:.2f}",
                f"{hours * on.units:.2f} {on.unit}-hours",
            ]
        )
    header = ("stage", "parameters", "steps × batch = samples", "last loss", "on", "hours", "cost")
    return table(header, rows)


def total_cost(runs: Sequence[Run], hardware: Mapping[str, Hardware]) -> str:
    """Sums the hours of each kind of device: `3.10 CPU core-hours and 0.40 GPU-hours`."""
    sums: dict[str, float] = {}
    for run in runs:
        on = hardware[run.name]
        sums[on.unit] = sums.get(on.unit, 0.0) + run.seconds / 3600 * on.units
    return " and ".join(f"{hours:.2f} {unit}-hours" for unit, hours in sums.items())
