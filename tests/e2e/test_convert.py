"""Converting with the installed command: there and back, and the memory that it takes."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from karlo_like import components
from torch import Tensor

from prior.model import Prior
from unclip.config import to_dict
from unclip.karlo.build import make_empty
from unclip.karlo.opened import OpenModel, OpenStage
from unclip.nn.initialise import NoFirstWeights
from unclip.pipeline.convert import Source, convert
from unclip.pipeline.registry import take_apart

Start = Callable[..., subprocess.Popen[str]]


class Random:
    """Weights that are drawn when they are asked for."""

    dtype = torch.float16

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def load(self) -> Tensor:
        return torch.randn(self.shape).half()

    def release(self) -> None:
        pass


def write_large(folder: Path) -> None:
    """A model in diffusers' layout whose prior takes 336 MB in one file, the rest next to none."""
    made = take_apart(components(), "large", {})
    assert made.prior is not None
    stages = [
        OpenStage(
            stage.stage,
            stage.config,
            {name: Random(tuple(tensor.shape)) for name, tensor in stage.tensors.items()},
            stage.metadata,
            stage.extra,
        )
        for stage in made.all()
    ]
    small = components().prior
    assert isinstance(small, Prior)
    config = replace(small.config, num_layers=13, num_heads=16, head_dim=64)
    with NoFirstWeights(), torch.device("meta"):
        wanted = Prior(config).state_dict()
    tensors = {name: Random(tuple(tensor.shape)) for name, tensor in wanted.items()}
    prior = replace(stages[1], config=to_dict(config), tensors=tensors)
    model = OpenModel("large", stages[0], prior, stages[2], (stages[3],))
    convert(Source(folder.parent / "nowhere", model, make_empty(model)), folder, "diffusers")


PEAK = (
    "import sys; from pathlib import Path; from unclip.cli.main import main\n"
    "assert main(sys.argv[1:]) == 0\n"
    "lines = Path('/proc/self/status').read_text().splitlines()\n"
    "print(next(int(line.split()[1]) * 1024 for line in lines if line.startswith('VmHWM')))"
)


def peak(start: Start, *arguments: str | Path) -> int:
    """Most bytes of memory that the command ever had, mapped pages among them."""
    process = start(sys.executable, "-c", PEAK, "convert", *arguments)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return int(out.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's account of a process's memory")
def test_memory_is_that_of_no_more_than_a_few_tensors(start: Start, tmp_path: Path):
    """Not a third of the largest file beyond what PyTorch itself takes; so never 1.3 of it where
    files are large."""
    (tmp_path / "nowhere").mkdir()
    write_large(tmp_path / "large")
    weights = tmp_path / "large" / "prior" / "diffusion_pytorch_model.safetensors"
    largest = weights.stat().st_size
    assert largest > 300e6
    base = peak(start, "pocket", tmp_path / "small", "--to", "unclip")
    ways = [
        (tmp_path / "large", tmp_path / "wide", "--to", "unclip", "--dtype", "float32"),
        (tmp_path / "wide", tmp_path / "to", "--to", "diffusers", "--shard-size", "200MB"),
        (tmp_path / "to", tmp_path / "back", "--to", "unclip", "--dtype", "bfloat16"),
    ]
    for way in ways:
        assert peak(start, *way) - base < 0.3 * largest, way


def test_there_and_back(start: Start, tmp_path: Path, tiny_model: Path):
    process = start("unclip", "convert", tiny_model, "copy", "--to", "unclip")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (0, "copy\n"), err
    process = start("unclip", "convert", "copy", "to", "--to", "diffusers")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert err.startswith("error: tiny cannot be written for diffusers, which has no place for: ")
    assert not (tmp_path / "to").exists()
