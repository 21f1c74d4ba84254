"""A run's checkpoints: what is kept, what is passed over, what is refused."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from unclip.errors import CheckpointError, TrainingDivergedError
from unclip.training import saving as saving_module
from unclip.training.ema import Ema
from unclip.training.optim import make_optimizer, optimizer_tensors
from unclip.training.progress import Progress, TrainState
from unclip.training.settings import TrainConfig
from unclip.training.state import Checkpoints, checkpoint_folders

CONFIG = TrainConfig(steps=100, batch_size=8, lr=0.1, max_nonfinite=3)


def state(dim: int = 3) -> TrainState:
    model = nn.Linear(dim, dim)
    built = TrainState(model, Ema(model, (0.05, 0.1)), make_optimizer(model, CONFIG), Progress())
    work(built, 1)
    return built


def work(state: TrainState, steps: int) -> None:
    for _ in range(steps):
        state.model(
            torch.randn(2, state.model.get_parameter("weight").shape[0])
        ).square().mean().backward()
        state.optimizer.step()
        state.progress.advance(updated=True, skipped=1)
        state.ema.update(state.model, state.progress.step)


def saved(root: Path, *steps: int, keep: int = 2) -> tuple[Checkpoints, TrainState]:
    checkpoints, running = Checkpoints(root, keep, {"world_size": 1}), state()
    for step in steps:
        running.progress.step = step
        work(running, 0)
        checkpoints.save(running)
    return checkpoints, running


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def damage(folder: Path) -> None:
    path = folder / "shard_00000.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_everything_comes_back(tmp_path: Path) -> None:
    running = state()
    work(running, 4)
    running.progress.nonfinite, running.progress.nonfinite_total = 2, 7
    Checkpoints(tmp_path, 2, {}).save(running)
    fresh = state()
    Checkpoints(tmp_path, 2, {}).load_newest(fresh)
    assert fresh.progress == running.progress == Progress(5, 2, 7, 5)
    for name, value in fresh.model.state_dict().items():
        assert torch.equal(value, running.model.state_dict()[name])
    averages = running.ema.tensors()
    for name, value in fresh.ema.tensors().items():
        assert torch.equal(value, averages.pop(name))
    assert not averages
    kept = optimizer_tensors(running.model, running.optimizer)
    for name, value in optimizer_tensors(fresh.model, fresh.optimizer).items():
        assert torch.equal(value, kept.pop(name))
    assert not kept


def test_other_companions_are_refused(tmp_path: Path) -> None:
    about = {"trained_on": {"clip": "aa"}}
    Checkpoints(tmp_path, 2, about).save(state())
    Checkpoints(tmp_path, 2, about).load_newest(state())
    fresh = state()
    before = {name: value.clone() for name, value in fresh.model.state_dict().items()}
    with pytest.raises(CheckpointError, match="trained on the clip aa, now there is the clip bb"):
        Checkpoints(tmp_path, 2, {"trained_on": {"clip": "bb"}}).load_newest(fresh)
    for name, value in fresh.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_newest_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 10, 20, 30, 40)
    assert names(tmp_path) == ["step_00000030", "step_00000040"]
    saved(tmp_path / "three", 10, 20, 30, 40, keep=3)
    assert len(names(tmp_path / "three")) == 3


def test_steps_are_numbers_not_text(tmp_path: Path) -> None:
    saved(tmp_path, 99_999_999, 100_000_000)
    assert [path.name for path in checkpoint_folders(tmp_path)] == [
        "step_99999999",
        "step_100000000",
    ]


def test_a_damaged_one_does_not_count_as_kept(tmp_path: Path) -> None:
    checkpoints, running = saved(tmp_path, 10, 20)
    damage(tmp_path / "step_00000020")
    running.progress.step = 30
    checkpoints.save(running)
    assert names(tmp_path) == ["step_00000010", "step_00000020", "step_00000030"]
    running.progress.step = 40
    checkpoints.save(running)
    assert names(tmp_path) == ["step_00000030", "step_00000040"]


def test_nothing_is_deleted_before_the_new_one_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints, running = saved(tmp_path, 10, 20)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving_module, "flush", full)
    running.progress.step = 30
    with pytest.raises(CheckpointError, match=r"cannot write .*step_00000030: No space left"):
        checkpoints.save(running)
    assert names(tmp_path) == ["step_00000010", "step_00000020"]
    monkeypatch.undo()
    checkpoints.save(running)
    assert names(tmp_path) == ["step_00000020", "step_00000030"]


@pytest.mark.parametrize("harm", ["flip", "truncate", "lose", "no manifest", "empty"])
def test_a_damaged_newest_one_is_passed_over_with_a_warning(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], harm: str
) -> None:
    saved(tmp_path, 10, 20)
    newest = tmp_path / "step_00000020"
    if harm == "flip":
        damage(newest)
    elif harm == "truncate":
        path = newest / "shard_00000.safetensors"
        path.write_bytes(path.read_bytes()[:-9])
    elif harm == "lose":
        (newest / "shard_00000.safetensors").unlink()
    elif harm == "no manifest":
        (newest / "manifest.json").unlink()
    else:
        shutil.rmtree(newest)
        newest.mkdir()
    fresh = state()
    Checkpoints(tmp_path, 2, {}).load_newest(fresh)
    assert fresh.progress.step == 10
    errors = capfd.readouterr().err
    assert "warning: " in errors
    assert "step_00000020" in errors
    assert "trying the one before it" in errors


def test_a_run_never_starts_again_in_silence(tmp_path: Path) -> None:
    saved(tmp_path, 10, 20)
    damage(tmp_path / "step_00000010")
    damage(tmp_path / "step_00000020")
    with pytest.raises(CheckpointError, match=r"none of the 2 checkpoints in .* is whole"):
        Checkpoints(tmp_path, 2, {}).load_newest(state())


def test_a_damaged_one_is_replaced_when_its_step_comes_again(tmp_path: Path) -> None:
    saved(tmp_path, 10, 20)
    damage(tmp_path / "step_00000020")
    fresh, checkpoints = state(), Checkpoints(tmp_path, 2, {})
    checkpoints.load_newest(fresh)
    fresh.progress.step = 20
    checkpoints.save(fresh)
    assert names(tmp_path) == ["step_00000010", "step_00000020"]
    Checkpoints(tmp_path, 2, {}).load_newest(fresh)
    assert fresh.progress.step == 20


def test_another_model_s_checkpoint_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, 10)
    with pytest.raises(CheckpointError, match=r"weight is \(3, 3\), expected \(4, 4\)"):
        Checkpoints(tmp_path, 2, {}).load_newest(state(dim=4))


def test_a_step_is_written_once(tmp_path: Path) -> None:
    checkpoints, running = saved(tmp_path, 10)
    before = (tmp_path / "step_00000010").stat().st_ino
    checkpoints.save(running)
    assert (tmp_path / "step_00000010").stat().st_ino == before


def test_too_many_refusals_in_a_row_end_the_run() -> None:
    progress = Progress(step=4)
    for row in (1, 2):
        assert f"weights are left as they are ({row} in a row)" in progress.refuse(CONFIG)
        progress.advance(updated=False, skipped=0)
    progress.advance(updated=True, skipped=0)
    assert (progress.nonfinite, progress.nonfinite_total, progress.step) == (0, 2, 7)
    for _ in range(2):
        progress.refuse(CONFIG)
        progress.advance(updated=False, skipped=0)
    with pytest.raises(TrainingDivergedError, match=r"step 10 \(samples 72 to 79 of the stream\)"):
        progress.refuse(CONFIG)
