"""Training runs in fresh processes."""

import subprocess
import sys
from pathlib import Path

from torch import Tensor

from unclip.training.state import read_checkpoint

PLAIN = ("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no")
ONE = (sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", *PLAIN)
TWO = (
    *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
    *(*PLAIN, "--main_process_port", "0"),
)


def finish(process: "subprocess.Popen[str]", code: int = 0) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


def tensors(out: Path, step: int = 10) -> dict[str, dict[str, Tensor]]:
    folder = out / "checkpoints" / f"step_{step:08d}"
    return {part: read_checkpoint(folder, f"{part}.") for part in ("model", "ema", "optimizer")}


def contents(out: Path, step: int = 10) -> dict[str, bytes]:
    folder = out / "checkpoints" / f"step_{step:08d}"
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
