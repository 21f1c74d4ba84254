"""The training runs of the pocket model, as a record that outlives their folders.

    python -m benchmarks.pocket_page.runs RUN... --machine "two cores of an AMD EPYC" --units 2

adds finished runs to `records/runs.json`, a run of the same name in its place: what they cost and
how their loss fell, which is all that the page says of them.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from safetensors import SafetensorError

from benchmarks.pocket_page.figures import read_json
from benchmarks.pocket_page.model import count_parameters
from unclip.checkpoint import CONFIG, WEIGHTS
from unclip.config import from_dict, to_dict
from unclip.errors import DataError, run_command

RECORD = Path(__file__).parent / "records" / "runs.json"
MAX_POINTS = 160
"""Of a curve; more are averaged."""


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
    hardware: Hardware
    points: tuple[Point, ...]

    @property
    def samples(self) -> int:
        """Seen in all."""
        return self.steps * self.batch_size


def read_run(folder: Path, hardware: Hardware) -> Run:
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
        hardware=hardware,
        points=tuple(thin(points)),
    )


def _seconds(log: Sequence[Mapping[str, Any]], batch_size: int) -> float:
    seconds, before = 0.0, 0
    for line in log:
        seconds += (line["step"] - before) * batch_size / line["images_per_second"]
        before = line["step"]
    return seconds


def thin(points: Sequence[Point]) -> list[Point]:
    """Averages neighbours, so that a long curve has no more points than can be seen."""
    size = -(-len(points) // MAX_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [
        Point(
            samples=round(sum(p.samples for p in group) / len(group)),
            loss=sum(p.loss for p in group) / len(group),
        )
        for group in groups
    ]


def read_record(path: Path) -> list[Run]:
    """Reads the runs of a record, in the order of their making.

    Raises:
        DataError: it cannot be read, or has no runs.
        ConfigError: an entry has another form.
    """
    data = read_json(path)
    if not isinstance(data, list) or not data:
        raise DataError(f"{path} has no list of runs: add some (python -m {__spec__.name})")
    return [from_dict(Run, entry, f"{path}: run {place}") for place, entry in enumerate(data)]


def add(options: argparse.Namespace) -> str:
    """Adds runs to a record; returns what it has then."""
    hardware = Hardware(machine=options.machine, unit=options.unit, units=options.units)
    runs = {run.name: run for run in read_record(options.record)} if options.record.exists() else {}
    runs |= {run.name: run for run in (read_run(folder, hardware) for folder in options.runs)}
    lines = ",\n".join(json.dumps(to_dict(run)) for run in runs.values())
    options.record.parent.mkdir(parents=True, exist_ok=True)
    options.record.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    return f"{options.record}: {', '.join(runs)}"


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pocket_page.runs")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a finished run's folder")
    parser.add_argument("--machine", required=True, help="what they were trained on, in words")
    parser.add_argument("--unit", default="CPU core", choices=("CPU core", "GPU"))
    parser.add_argument("--units", type=int, required=True, help="how many of those they had")
    parser.add_argument("--record", type=Path, default=RECORD)
    options = parser.parse_args(argv)
    return run_command(lambda: add(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
