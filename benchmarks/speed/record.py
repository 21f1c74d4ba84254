"""What a run of the benchmark leaves: one JSON file, from which every table is made."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.compare import Compared
from benchmarks.speed.engine import Dtype
from benchmarks.speed.shapes import Steps
from unclip.config import from_dict, to_dict
from unclip.errors import DataError

REFERENCE = "P0"
CONTROL = "P0 again"
"""The reference once more: what differs between the two is the machine's."""
TOTAL = "total"


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """Where it ran."""

    name: str
    """Of the GPU, or of the CPU."""
    features: tuple[str, ...]
    """Of the CPU: its instructions for vectors and matrices."""
    threads: int
    memory_bytes: int
    """Of the device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What was asked for; two runs with the same may be joined."""

    shape: str
    device: str
    batch: int
    steps: Steps
    machine: Machine
    versions: tuple[tuple[str, str], ...]
    commit: str
    """Of this repository; with a + where files were changed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What a stage has to do for one batch, as our modules count it."""

    stage: str
    plain_flop: float
    """As diffusers does it."""
    flop: float
    """With the prior's text run once: the least known for the same output."""
    weights: int
    """Parameters that are read, all steps together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """What the machine can do at best."""

    dtype: Dtype
    flop_per_second: float
    bytes_per_second: float
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A row of a profile."""

    operation: str
    share: float
    """Of the time, in [0, 1]."""
    calls: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Cold:
    """A fresh process, to its first picture."""

    ready_seconds: float
    """Until the model is loaded; CPU time, or wall time where there is a GPU."""
    image_seconds: float
    """Until the picture is there."""
    peak_bytes: int
    """Of the device: of the process, or what torch allocated on the GPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """An engine."""

    name: str
    title: str
    dtype: Dtype
    compared: Compared
    calls: tuple[int, ...]
    """Of each stage: ATen operations on a CPU, kernels on a GPU."""
    call_seconds: float | None = None
    """Ours: one untimed-by-stage call as users make it, to stand beside the stages' sum."""
    peak_bytes: int | None = None
    """Of a GPU: the engine's own weights, and the most that was added while it painted."""
    cold: Cold | None = None
    profile: tuple[Share, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """An engine in a round."""

    engine: str
    seconds: tuple[float, ...]
    """Of each of the stages."""

    @property
    def total(self) -> float:
        """Of all stages."""
        return sum(self.seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A run."""

    about: About
    work: tuple[Work, ...]
    limits: tuple[Limit, ...]
    rows: tuple[Row, ...]
    rounds: tuple[tuple[Timed, ...], ...] = ()
    clocks: str | None = None
    """Of a GPU right after the last round, as nvidia-smi says: processors, memory."""

    def row(self, name: str) -> Row | None:
        """Returns an engine's row."""
        return next((row for row in self.rows if row.name == name), None)


def write_record(path: Path, record: Record) -> None:
    """Writes a record, whole or not at all, a round a line.

    Raises:
        DataError: it cannot be written.
    """
    data = to_dict(record)
    lines = []
    for key, value in data.items():
        if key in ("rows", "rounds", "work", "limits"):
            items = ",\n  ".join(json.dumps(item) for item in value)
            lines.append(f'"{key}": [\n  {items}\n ]' if value else f'"{key}": []')
        else:
            lines.append(f'"{key}": {json.dumps(value)}')
    text = "{\n " + ",\n ".join(lines) + "\n}\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error


def read_record(path: Path) -> Record:
    """Reads a record.

    Raises:
        DataError: it cannot be read.
        ConfigError: it has another form.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if not isinstance(data, dict):
        raise DataError(f"{path} is no record of the benchmark")
    return from_dict(Record, data, str(path))


def read_records(folder: Path) -> list[tuple[str, Record]]:
    """Reads all records of a folder, by name; those of a GPU last."""
    found = [(path.stem, read_record(path)) for path in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda item: item[1].about.device)


def engines(record: Record) -> Sequence[str]:
    """Names of the engines, the control last."""
    return [*(row.name for row in record.rows), CONTROL]
