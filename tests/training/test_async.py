"""Saving beside the training: what is kept is what was, one save at a time, and no save is lost."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import tensors
from torch import nn

from unclip.errors import CheckpointError
from unclip.training import saving, state
from unclip.training.ema import Ema
from unclip.training.optim import make_optimizer
from unclip.training.progress import Progress, TrainState
from unclip.training.settings import TrainConfig
from unclip.training.state import Checkpoints, checkpoint_folders, read_checkpoint, step_of

CONFIG = TrainConfig(steps=100, batch_size=8, lr=0.1)
Toy = Callable[..., int]


def running(step: int, value: float) -> TrainState:
    model = nn.Linear(3, 3)
    nn.init.constant_(model.weight, value)
    return TrainState(model, Ema(model, (0.1,)), make_optimizer(model, CONFIG), Progress(step=step))


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Writing waits until this is set."""
    opened, plain = threading.Event(), state.write_part

    def slow(*args: Any) -> None:
        opened.wait(30)
        plain(*args)

    monkeypatch.setattr(state, "write_part", slow)
    return opened


def test_what_is_written_is_what_was(tmp_path: Path, gate: threading.Event) -> None:
    checkpoints, now = Checkpoints(tmp_path, 2, {}), running(10, 1.0)
    assert checkpoints.begin(now) is None
    # Training goes on meanwhile.
    nn.init.constant_(now.model.get_parameter("weight"), 2.0)
    now.progress.step = 11
    assert checkpoints.standing() == (False, False)
    assert checkpoints.proceed(0, 0) is None
    assert checkpoint_folders(tmp_path) == []
    gate.set()
    assert checkpoints.wait() is None
    (folder,) = checkpoint_folders(tmp_path)
    assert step_of(folder) == checkpoints.newest_step == 10
    assert (read_checkpoint(folder, "model.")["weight"] == 1).all()
    assert (read_checkpoint(folder, "ema.0.1.")["weight"] == 1).all()


def test_the_next_one_waits_for_the_one_before(tmp_path: Path, gate: threading.Event) -> None:
    checkpoints = Checkpoints(tmp_path, 2, {})
    checkpoints.begin(running(10, 1.0))
    threading.Timer(0.3, gate.set).start()
    since = time.monotonic()
    checkpoints.begin(running(20, 2.0))
    assert time.monotonic() - since > 0.2
    assert [step_of(folder) for folder in checkpoint_folders(tmp_path)] == [10]
    checkpoints.save(running(20, 2.0))
    assert [step_of(folder) for folder in checkpoint_folders(tmp_path)] == [10, 20]
    assert (read_checkpoint(checkpoint_folders(tmp_path)[1], "model.")["weight"] == 2).all()


def test_where_the_data_stand_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Checkpoints(tmp_path, 2, {}).save(running(10, 1.0), b"here")
    again = Checkpoints(tmp_path, 2, {})
    said = again.load_newest(running(0, 0.0))
    assert (again.data, said) == ([b"here"], "resumed from step_00000010, the newest one")
    # Written by other code: told, for whoever compares two runs.
    monkeypatch.setattr(torch, "__version__", "9.9")
    assert ", by torch" in str(Checkpoints(tmp_path, 2, {}).load_newest(running(0, 0.0)))


def test_other_processes_failure_is_everyones(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, 2, {})
    checkpoints.begin(running(10, 1.0))
    error = checkpoints.proceed(1, 1)
    assert isinstance(error, CheckpointError)
    checkpoints.save(running(10, 1.0))
    assert [step_of(folder) for folder in checkpoint_folders(tmp_path)] == [10]


def test_a_mistake_in_the_code_is_not_taken_for_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise KeyError("a mistake")

    monkeypatch.setattr(state, "write_part", broken)
    with pytest.raises(KeyError):
        Checkpoints(tmp_path, 2, {}).save(running(10, 1.0))


def test_a_missing_shard_is_told(tmp_path: Path) -> None:
    """As when the machines of a run do not share its folder."""
    (tmp_path / "step.tmp").mkdir()
    with pytest.raises(CheckpointError, match="shard of process 0 is not there; is the run's fold"):
        saving.commit(tmp_path / "step.tmp", tmp_path / "step", 2, {})


def test_checkpoints_by_the_clock(tmp_path: Path, toy: Toy) -> None:
    out = tmp_path / "run"
    assert toy(out, "train.save_minutes=0.002", "step_seconds=0.03", "train.keep=9") == 0
    steps = [step_of(folder) for folder in checkpoint_folders(out / "checkpoints")]
    assert len(steps) >= 3
    assert steps[-1] == 10


def test_a_named_checkpoint(tmp_path: Path, toy: Toy, capfd: pytest.CaptureFixture[str]) -> None:
    """Row 5: one that is asked for is never replaced by another."""
    out = tmp_path / "run"
    assert toy(out, "train.save_every=3", "train.keep=9") == 0
    whole = tensors(out)
    assert toy(out, "train.keep=9", resume="step_00000006") == 0
    said = capfd.readouterr().out
    assert "resumed from step_00000006" in said
    assert "step_00000009 is set aside, step_00000010 is set aside" in said
    assert {path.name for path in (out / "checkpoints").iterdir()} >= {"step_00000009.aside"}
    for part, named in tensors(out).items():
        assert all(torch.equal(value, whole[part][name]) for name, value in named.items())
    # One that is damaged, one that is not there, and what is no step.
    shard = out / "checkpoints" / "step_00000003" / "shard_00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert toy(out, resume="3") == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert "is damaged" in error
    assert "leave --resume out for the newest whole one" in error
    assert toy(out, resume="4") == 2
    assert "no checkpoint of step 4, but of: 3, 6, 10" in capfd.readouterr().err
    with pytest.raises(SystemExit):
        toy(out, resume="last")
    assert "'last' is no step, expected step_00001000 or 1000" in capfd.readouterr().err
