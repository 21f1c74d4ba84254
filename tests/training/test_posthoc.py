"""Averages of another length are those that the training would have kept."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from unclip.checkpoint import load_stage
from unclip.cli.main import main
from unclip.training.posthoc import reconstruct
from unclip.training.snapshots import find_snapshots

Toy = Callable[..., int]
LONG = ("train.steps=64", "train.ema_every=4", "train.precision=float32", "train.log_every=64")


@pytest.fixture
def run(tmp_path: Path, toy: Toy) -> Path:
    assert toy(tmp_path / "run", *LONG) == 0
    return tmp_path / "run"


def test_a_length_that_was_not_kept(run: Path, tmp_path: Path, toy: Toy) -> None:
    assert len(find_snapshots(run)) == 2 * 16
    # The same training once more, with the length itself as a track.
    toy(tmp_path / "direct", *LONG, "train.ema_stds=[0.08]", "train.ema_final=0.08")
    truth = load_stage(tmp_path / "direct" / "final").tensors
    made = reconstruct(run, 0.08)
    assert made.folder == run / "final-0.08"
    assert (made.step, made.num_snapshots, made.left_out) == (64, 32, ())
    assert made.fit.error < 0.004
    stage, near = load_stage(made.folder, "toy"), load_stage(run / "final").tensors
    assert stage.metadata == {"pictures": 20, "ema_std": 0.08, "step": 64}
    assert stage.tensors.keys() == truth.keys()
    for name, tensor in stage.tensors.items():
        assert tensor.dtype == torch.float32
        # Float16 snapshots and the poorness of the fit, far below what the lengths differ by.
        scale = truth[name].abs().max()
        assert (tensor - truth[name]).abs().max() < 6e-4 * scale, name
        assert (near[name] - truth[name]).abs().max() > 1e-3 * scale, name


def test_an_earlier_step_and_a_damaged_snapshot(run: Path) -> None:
    damaged = run / "ema" / "0.05" / "step_00000012" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    made = reconstruct(run, 0.1, step=34, out=run / "early")
    assert (made.step, made.num_snapshots) == (32, 15)
    assert "step_00000012" in made.left_out[0]
    own = load_stage(run / "ema" / "0.1" / "step_00000032").tensors
    for name, tensor in load_stage(run / "early").tensors.items():
        assert torch.allclose(tensor, own[name].float(), atol=1e-6)
        assert own[name].dtype == torch.float16


def test_snapshots_of_another_future_go(run: Path, toy: Toy) -> None:
    for step in (64,):
        shutil.rmtree(run / "checkpoints" / f"step_{step:08d}")
    assert toy(run, *LONG[1:], "train.steps=2") == 0
    assert {snapshot.step for snapshot in find_snapshots(run)} == {2}


def test_the_command(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["ema", str(run), "--std", "0.07", "--json"]) == 0
    told = capsys.readouterr()
    result = json.loads(told.out)
    assert (result["path"], result["step"], result["snapshots"]) == (
        str(run / "final-0.07"),
        64,
        32,
    )
    assert "the average of length 0.07 at step 64, of 32 snapshots" in told.err
    assert "warning" not in told.err
    assert main(["ema", str(run), "--std", "0.005"]) == 0
    assert "warning: that is far off" in capsys.readouterr().err
    for arguments, reason in (
        (["--std", "0.07"], "final-0.07 is there already"),
        (["--std", "0.5"], "--std is 0.5, expected 0.001 to 0.288"),
        (["--std", "0.1", "--step", "3"], "no snapshot up to step 3, its first is of step 4"),
    ):
        assert main(["ema", str(run), *arguments]) == 2
        error = capsys.readouterr().err
        assert reason in error
        assert error.count("\n") == 1
    assert main(["ema", str(run / "checkpoints"), "--std", "0.1"]) == 2
    assert "has no snapshots of its averages" in capsys.readouterr().err
    assert main(["ema", str(run), "--std", "0.07", "--force"]) == 0
