"""Carries runs between machines as their lightest checkpoints: weights and average in float16, no
optimiser; and beside them the stages `final/` and `best/`, in float16, too.

    python -m unclip.training.carry pack runs/pocket/clip runs/pocket/prior --out carried
    python -m unclip.training.carry unpack carried --runs runs/pocket

What is carried is an ordinary checkpoint in an ordinary run folder: the stage's own command goes on
from it, at the step where it stood, with the learning rate warmed up anew for the fresh optimiser.
A carried file is the archive of all runs, cut into parts that pass through small doors.
"""

import argparse
import io
import json
import lzma
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from unclip.checkpoint import atomic_folder, load_stage, save_stage, verify_folder
from unclip.errors import CheckpointError, ConfigError, run_command
from unclip.training.saving import STATE
from unclip.training.shards import write_whole
from unclip.training.state import newest_whole, read_checkpoint

ARCHIVE = "runs.tar"
WEIGHTS = ("model.", "ema.")
FILTERS = ({"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 64 * 2**20},)
"""Weights hardly get smaller, but what stands twice weighs once: a run's average and its stages."""
STAGES = ("final", "best")
PART_BYTES = 16 * 2**20
MAX_PARTS = 8
MAX_BYTES = 60 * 2**20
"""Of all parts together."""


def pack(runs: Sequence[Path], out: Path) -> list[Path]:
    """Writes the newest whole checkpoint of each run, and its exported and best stage if there are
    any, as parts of at most 16 MiB; returns the parts.

    Raises:
        CheckpointError: a run has no whole checkpoint, or they cannot be written.
        ConfigError: two runs have one name, or all together are more than 60 MiB.
    """
    if len({run.name for run in runs}) < len(runs):
        raise ConfigError("two of the runs have the same name: carry them one after another")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out) as place:
            archive = Path(place) / ARCHIVE
            with (
                lzma.open(archive, "wb", filters=FILTERS) as packed,
                tarfile.open(fileobj=packed, mode="w|") as tar,
            ):
                for run in runs:
                    light = _lighten(newest_whole(run / "checkpoints"), Path(place) / run.name)
                    tar.add(light, f"{run.name}/checkpoints/{light.name}")
                    for name in STAGES:
                        if (run / name).is_dir():
                            half = Path(place) / run.name / name
                            save_stage(half, load_stage(run / name), dtype=torch.float16)
                            tar.add(half, f"{run.name}/{name}")
            return _split(archive, out)
    except OSError as error:
        raise CheckpointError(f"cannot write {out}: {error.strerror or error}") from error


def _lighten(checkpoint: Path, place: Path) -> Path:
    """Copies a checkpoint without its optimiser, floats as float16."""
    light = place / checkpoint.name
    with atomic_folder(light) as folder:
        tensors = {
            f"{kind}{name}": value.half() if value.is_floating_point() else value
            for kind in WEIGHTS
            for name, value in read_checkpoint(checkpoint, kind).items()
        }
        write_whole(folder, tensors)
        shutil.copyfile(checkpoint / STATE, folder / STATE)
    return light


def _split(archive: Path, out: Path) -> list[Path]:
    size = archive.stat().st_size
    if size > MAX_BYTES:
        raise ConfigError(
            f"these runs take {size / 2**20:.0f} MiB, at most {MAX_BYTES / 2**20:.0f} are carried: "
            "carry fewer at a time"
        )
    for older in _parts(out):
        older.unlink()
    with archive.open("rb") as file:
        chunks = enumerate(iter(lambda: file.read(PART_BYTES), b""))
        parts = [_write(out / f"{ARCHIVE}.{number}", chunk) for number, chunk in chunks]
    assert len(parts) <= MAX_PARTS, "60 MiB in parts of 16"
    return parts


def _write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def unpack(carried: Path, runs: Path) -> list[str]:
    """Puts carried checkpoints into run folders below `runs`; returns the names of the runs.

    A run that stands further already keeps its own. Only plain files of the expected names are
    taken from the archive.

    Raises:
        CheckpointError: parts are missing or damaged.
    """
    parts = _parts(carried)
    numbers = [int(part.suffix[1:]) for part in parts]
    if not parts or numbers != list(range(len(parts))):
        raise CheckpointError(f"{carried} lacks parts of {ARCHIVE}: bring all of them")
    joined = io.BytesIO(b"".join(part.read_bytes() for part in parts))
    try:
        runs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=runs) as place:
            with tarfile.open(fileobj=joined) as tar:
                tar.extractall(place, filter="data")
            names = sorted(folder.name for folder in Path(place).iterdir())
            for name in names:
                _settle(Path(place) / name, runs / name)
    except (tarfile.TarError, lzma.LZMAError, OSError, EOFError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{carried} is damaged or cannot be unpacked: {error}") from error
    return names


def _settle(carried: Path, run: Path) -> None:
    (light,) = (carried / "checkpoints").iterdir()
    verify_folder(light)
    if any(path.name >= light.name for path in (run / "checkpoints").glob("step_*")):
        return
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    for name in STAGES:
        if (carried / name).is_dir():
            shutil.rmtree(run / name, ignore_errors=True)
            os.rename(carried / name, run / name)
    # Last, and by a rename: who was killed before it does all again.
    os.rename(light, run / "checkpoints" / light.name)


def _parts(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{ARCHIVE}.[0-9]*"), key=lambda path: int(path.suffix[1:]))


def _steps(runs: Sequence[Path]) -> Iterator[str]:
    for run in runs:
        state = newest_whole(run / "checkpoints") / STATE
        yield f"{run.name} at step {json.loads(state.read_text(encoding='utf-8'))['step']}"


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m unclip.training.carry")
    verbs = parser.add_subparsers(dest="verb", required=True)
    packing = verbs.add_parser("pack", help="write the newest checkpoints of runs as small parts")
    packing.add_argument("run", type=Path, nargs="+", help="run folders")
    packing.add_argument("--out", type=Path, required=True, help="folder for the parts")
    unpacking = verbs.add_parser("unpack", help="put carried checkpoints into run folders")
    unpacking.add_argument("carried", type=Path, help="folder of the parts")
    unpacking.add_argument("--runs", type=Path, required=True, help="folder of the run folders")
    options = parser.parse_args(argv)

    def work() -> str:
        if options.verb == "pack":
            parts = pack(options.run, options.out)
            total = sum(part.stat().st_size for part in parts)
            what = ", ".join(_steps(options.run))
            return f"{what}: {len(parts)} parts, {total / 2**20:.1f} MiB in {options.out}"
        names = unpack(options.carried, options.runs)
        return f"{', '.join(_steps([options.runs / name for name in names]))} in {options.runs}"

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
