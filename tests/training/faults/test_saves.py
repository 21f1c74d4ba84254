"""A save that is killed or fails at any of its system calls (rows 3 and 4 of the fault matrix)."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from forks import spoiled
from torch import nn

from unclip.errors import CheckpointError
from unclip.training import state as state_module
from unclip.training.ema import Ema
from unclip.training.folder import claim
from unclip.training.optim import make_optimizer
from unclip.training.progress import Progress, TrainState
from unclip.training.saving import Job
from unclip.training.settings import TrainConfig
from unclip.training.state import Checkpoints, checkpoint_folders, newest_whole, step_of

CONFIG = TrainConfig(steps=100, batch_size=8, lr=0.1)
CHANGING = "mkdir,openat,write,fsync,rename,unlink,unlinkat,rmdir,chmod,fchmodat"
Work = Callable[[], int | None]

pytestmark = pytest.mark.requires_strace


class AtOnce(Job):
    """The work of a save in the saving process's only thread, so that strace counts all calls."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.error: Exception | None = None
        try:
            work()
        except Exception as error:
            self.error = error

    def is_done(self) -> bool:
        return True

    def wait(self) -> None:
        pass


def run_at(step: int) -> TrainState:
    model = nn.Linear(3, 3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(step)
    optimizer = make_optimizer(model, CONFIG)
    return TrainState(model, Ema(model, (0.1,)), optimizer, Progress(step=step))


def load(run: Path) -> int:
    """The step of the newest whole checkpoint, which holds what was written at that step."""
    found = run_at(0)
    assert Checkpoints(run / "checkpoints", 2, {}).load_newest(found)
    assert all((value == found.progress.step).all() for value in found.model.parameters())
    return found.progress.step


def whole(run: Path) -> set[int]:
    folders = checkpoint_folders(run / "checkpoints")
    return {step_of(folder) for folder in folders if state_module._is_whole(folder)}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with the checkpoints 10 and 20, of which each save below would prune the older."""
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints", 2, {})
    for step in (10, 20):
        checkpoints.save(run_at(step))
    monkeypatch.setattr(state_module, "Job", AtOnce)
    return tmp_path / "run"


def saving(run: Path) -> Work:
    checkpoints, now = Checkpoints(run / "checkpoints", 2, {}), run_at(30)

    def work() -> int:
        try:
            checkpoints.save(now)
        except CheckpointError as error:
            print(error)
            return 2
        return 0

    return work


@pytest.mark.slow
def test_a_save_killed_at_any_call_costs_nothing(run: Path, tmp_path: Path) -> None:
    point, found = 0, set()
    code = -9
    while code == -9:
        point += 1
        copy = tmp_path / f"killed-{point}"
        shutil.copytree(run, copy)
        code = spoiled(saving(copy), tmp_path / "out", f"{CHANGING}:signal=KILL:when={point}")
        found.add(load(copy))
        assert len(whole(copy)) >= 2
        names = {path.name.partition(".")[0] for path in (copy / "checkpoints").iterdir()}
        assert names <= {"step_00000010", "step_00000020", "step_00000030"}
        # The next start cleans up, and saves again.
        with claim(copy, {}):
            assert not list((copy / "checkpoints").glob("*.tmp-*"))
            Checkpoints(copy / "checkpoints", 2, {}).save(run_at(40))
        assert load(copy) == 40
        shutil.rmtree(copy)
    assert code == 0, (tmp_path / "out").read_text()
    assert point > 20
    assert found == {20, 30}


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("write:error=ENOSPC:when=1", "No space left on device"),
        ("write:error=EDQUOT:when=2", "Disk quota exceeded"),
        ("fsync:error=EIO:when=1", "Input/output error"),
        ("mkdir:error=EROFS", "Read-only file system"),
        ("rename:error=EXDEV", "Invalid cross-device link"),
        ("fsync:error=ENOSPC:when=5", "No space left on device"),
    ],
)
def test_a_save_that_fails_leaves_all_as_it_was(
    run: Path, tmp_path: Path, rule: str, reason: str
) -> None:
    output = tmp_path / "out"
    assert spoiled(saving(run), output, rule) == 2, output.read_text()
    said = output.read_text()
    assert said == f"cannot write {run / 'checkpoints' / 'step_00000030'}: {reason}\n"
    assert {path.name for path in (run / "checkpoints").iterdir()} == {
        "step_00000010",
        "step_00000020",
    }
    assert (load(run), whole(run)) == (20, {10, 20})
    assert step_of(newest_whole(run / "checkpoints")) == 20
