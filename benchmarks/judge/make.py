"""Trains the judge from nothing: pictures, training, weights in float16.

    python -m benchmarks.judge.make --set DIR --out runs/judge

A command that was interrupted goes on where it stopped. `--override train.steps=600` and the like
override the recipe, `judge.yaml`; `--weights` says where the finished judge goes, by default beside
this file, where `unclip eval` looks for it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.judge.pictures import write_pictures
from unclip.checkpoint import load_stage, save_stage
from unclip.errors import DataError, run_command
from unclip.training.clip import main as train_clip

HERE = Path(__file__).parent
MAX_BYTES = 10_000_000


def make(options: argparse.Namespace) -> str:
    """Runs the recipe; returns what was done.

    Raises:
        DataError: the training ended early, or the judge has more than 10 MB.
    """
    pictures = options.out / "pictures"
    if not (pictures / "metadata.jsonl").is_file():
        count = write_pictures(pictures, options.set, copies=options.copies, scenes=options.scenes)
        print(f"{count} pictures in {pictures}", flush=True)
    run = options.out / "run"
    arguments = ["--config", str(HERE / "judge.yaml"), "--out", str(run)]
    for setting in (f"images={pictures}", *options.override):
        arguments += ["--set", setting]
    if train_clip(arguments) != 0:
        raise DataError(f"the training in {run} ended early: run this again")
    save_stage(options.weights, load_stage(run / "final", "clip"), dtype=torch.float16)
    size = sum(path.stat().st_size for path in options.weights.iterdir())
    if size > MAX_BYTES:
        raise DataError(f"the judge has {size:,} bytes, at most {MAX_BYTES:,}: make it smaller")
    return f"the judge: {size:,} bytes in {options.weights}"


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judge.make", description=__doc__)
    parser.add_argument("--set", type=Path, required=True, help="what unclip data built")
    parser.add_argument("--out", type=Path, required=True, help="pictures and training run")
    parser.add_argument("--weights", type=Path, default=HERE / "weights")
    parser.add_argument("--copies", type=int, default=2, help="pictures of each drawing")
    parser.add_argument("--scenes", type=int, default=20_000)
    parser.add_argument("--override", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(argv)
    return run_command(lambda: make(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
