"""Checkpoints on a disk that is full, read-only, or has spoiled them (rows 4 and 5)."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_stage
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import tensors
from torch import nn

from unclip.errors import CheckpointError
from unclip.training.ema import Ema
from unclip.training.optim import make_optimizer
from unclip.training.progress import Progress, TrainState
from unclip.training.settings import TrainConfig
from unclip.training.state import Checkpoints, newest_whole, step_of

Toy = Callable[..., int]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes for the checkpoints of a run."""
    place = tmp_path / "run" / "checkpoints"
    place.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no leave to mount a small file system: run as root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def remount(disk: Path, how: str) -> None:
    command = ["mount", "-o", f"remount,{how}", str(disk)]
    until = time.monotonic() + 10
    while subprocess.run(command, capture_output=True).returncode:
        assert time.monotonic() < until  # a save was still under way


def after_a_save(action: Callable[[], object]) -> Callable[[], object]:
    """Lets the save that has begun beside the training meet the disk as it is."""

    def later() -> object:
        time.sleep(0.5)
        return action()

    return later


def while_loading(
    monkeypatch: pytest.MonkeyPatch, actions: dict[int, Callable[[], object]]
) -> None:
    """Does something when a sample of the stream is loaded."""
    plain = toy_stage.ToyData.__getitem__

    def spoiling(data: Any, key: tuple[int, int]) -> Any:
        actions.get(key[1], lambda: None)()
        return plain(data, key)

    monkeypatch.setattr(toy_stage.ToyData, "__getitem__", spoiling)


@pytest.mark.requires_tmpfs
def test_a_full_or_read_only_disk(
    disk: Path,
    tmp_path: Path,
    toy: Toy,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out, filler = disk.parent, disk / "filler"

    def fill() -> None:
        filler.write_bytes(bytes(1_500_000))

    # Full from step 3 to 5, read-only from step 7 to 9: the saves of 4 and 8 fail.
    actions: dict[int, Callable[[], object]] = {8: fill, 16: filler.unlink}
    actions |= {24: lambda: remount(disk, "ro"), 32: lambda: remount(disk, "rw")}
    for position in (16, 32):
        actions[position] = after_a_save(actions[position])
    while_loading(monkeypatch, actions)
    assert toy(out, "train.save_every=2", "train.log_every=20") == 0
    said = capfd.readouterr().err
    assert "toy, process 0: warning: cannot write a checkpoint of 1,0" in said
    assert "bytes to " + str(out / "checkpoints") in said
    assert "left: make room, or choose another --out; training goes on, older ones are kept" in said
    assert f"cannot write {out / 'checkpoints'}/step_0000000" in said
    assert "Read-only file system; training goes on" in said
    monkeypatch.undo()
    toy(tmp_path / "clean")
    for part, named in tensors(out).items():
        clean = tensors(tmp_path / "clean")[part]
        assert all(torch.equal(value, clean[name]) for name, value in named.items())

    # A last save that fails ends in an error, and what was saved before is whole.
    with monkeypatch.context() as patch:
        while_loading(patch, {44: lambda: remount(disk, "ro")})
        assert toy(out, "train.steps=12", "train.log_every=20") == 2
    assert capfd.readouterr().err.endswith("Read-only file system\n")
    assert step_of(newest_whole(out / "checkpoints")) == 10
    # No room for a single checkpoint: told before the first step.
    remount(disk, "rw")
    fill()
    assert toy(out, "train.steps=12", "train.log_every=20") == 2
    assert "make room, or choose another --out" in capfd.readouterr().err
    filler.unlink()
    assert toy(out, "train.steps=12", "train.log_every=20") == 0


def run_at(step: int) -> TrainState:
    model = nn.Linear(3, 3)
    nn.init.constant_(model.weight, step)
    return TrainState(model, Ema(model, (0.1,)), make_optimizer(model, TINY), Progress(step=step))


TINY = TrainConfig(steps=100, batch_size=8, lr=0.1)
FILES = ("shard_00000.safetensors", "state.json", "manifest.json")


@pytest.fixture(scope="module")
def two_saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("saved")
    checkpoints = Checkpoints(root, 2, {})
    for step in (10, 20):
        checkpoints.save(run_at(step))
    return root


def newest_after(root: Path, harm: Callable[[Path], object]) -> int:
    """The step that is loaded when the newest checkpoint is harmed, which is undone then."""
    newest, kept = root / "step_00000020", root / "kept"
    shutil.copytree(newest, kept)
    try:
        harm(newest)
        found = run_at(0)
        assert Checkpoints(root, 2, {}).load_newest(found)
        assert (found.model.get_parameter("weight") == found.progress.step).all()
        if found.progress.step == 10:
            with pytest.raises(CheckpointError, match="leave --resume out"):
                Checkpoints(root, 2, {}).load_step(run_at(0), 20)
        return found.progress.step
    finally:
        shutil.rmtree(newest, ignore_errors=True)
        kept.rename(newest)


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_found(two_saved: Path, name: str) -> None:
    content = (two_saved / "step_00000020" / name).read_bytes()
    for eighth in range(8):
        size = len(content) * eighth // 8
        assert newest_after(two_saved, lambda f, s=size: (f / name).write_bytes(content[:s])) == 10
    assert newest_after(two_saved, lambda folder: (folder / name).unlink()) == 10


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=30, deadline=None)
def test_a_flipped_bit_is_found(two_saved: Path, place: float, bit: int) -> None:
    def flip(folder: Path) -> None:
        shard = folder / FILES[0]
        content = bytearray(shard.read_bytes())
        content[int(place * len(content))] ^= 1 << bit
        shard.write_bytes(content)

    assert newest_after(two_saved, flip) == 10


def test_a_file_too_many_is_not_read(two_saved: Path) -> None:
    def add(folder: Path) -> None:
        shutil.copyfile(two_saved / "step_00000010" / FILES[0], folder / "shard_00001.safetensors")
        (folder / "model.pt").write_bytes(b"cos\nsystem\n(S'touch harm'\ntR.")

    assert newest_after(two_saved, add) == 20
