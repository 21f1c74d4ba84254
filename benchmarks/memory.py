"""Memory of a fresh process that makes one picture, with `--low-memory` and without.

    python -m benchmarks.memory                  # two minutes: a model of 1.1 GB, random weights

What is compared is the largest resident set, in which a file's mapped pages count, too. Sampling
takes one step a stage: memory is the same in each. On a GPU `benchmarks/gpu_check.sh` compares.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.ablations.results import write_json
from benchmarks.speed.clock import peak_memory
from benchmarks.speed.machine import ROOT, commit, machine, versions
from benchmarks.speed.shapes import find_shape
from benchmarks.speed.weights import write_weights
from unclip.config import to_dict
from unclip.errors import BackendError, run_command
from unclip.pipeline.pipeline import UnCLIPPipeline

RECORD = ROOT / "benchmarks" / "records" / "memory.json"
WAYS = ("whole", "low memory")


def paint(folder: Path, way: str) -> str:
    """Is the fresh process: loads, makes a picture, says what was in memory before and at most."""
    before = peak_memory()
    pipe = UnCLIPPipeline.from_pretrained(folder, dtype="float32", low_memory=way == WAYS[1])
    pipe(
        "a red apple",
        seed=0,
        prior_num_inference_steps=1,
        num_inference_steps=1,
        super_res_num_inference_steps=2,
        output_type=None,
    )
    return json.dumps({"before": before, "peak": peak_memory()})


def measure(folder: Path, way: str) -> dict[str, Any]:
    """Starts that process.

    Raises:
        BackendError: it fails.
    """
    command = [sys.executable, "-m", "benchmarks.memory", "--folder", str(folder), "--paint", way]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or "no message").splitlines()[-1]
        raise BackendError(f"the process that paints failed: {reason}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def run(folder: Path | None, shape_name: str, path: Path) -> str:
    """Measures both ways, and keeps the record."""
    with tempfile.TemporaryDirectory() as place:
        weights = folder or write_weights(Path(place) / "model", find_shape(shape_name))
        num_bytes = sum(file.stat().st_size for file in weights.rglob("*") if file.is_file())
        found = {way: measure(weights, way) for way in WAYS}
    about = {
        "machine": to_dict(machine(torch.device("cpu"))),
        "versions": dict(versions()),
        "commit": commit(),
        "shape": shape_name,
        "model_bytes": num_bytes,
    }
    write_json(path, about | {"ways": found})
    lines = [f"a model of {num_bytes / 1e9:.2f} GB on disk; peak beside Python and its libraries:"]
    lines += [f"  {way:12}{(f['peak'] - f['before']) / 1e9:.2f} GB" for way, f in found.items()]
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory")
    parser.add_argument("--folder", type=Path, help="a model; by default one is written")
    parser.add_argument("--shape", default="small", help="of the model that is written")
    parser.add_argument("--paint", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--record", type=Path, default=RECORD)
    options = parser.parse_args(argv)
    if options.paint:
        return run_command(lambda: paint(options.folder, options.paint))
    return run_command(lambda: run(options.folder, options.shape, options.record))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
