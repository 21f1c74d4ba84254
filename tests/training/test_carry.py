"""Runs that are carried to another machine go on there: lighter, and with a fresh optimiser."""

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from unclip.checkpoint import (
    StageFolder,
    atomic_folder,
    load_stage,
    save_stage,
)
from unclip.errors import CheckpointError, ConfigError
from unclip.training import carry
from unclip.training.carry import main, pack, unpack
from unclip.training.shards import write_whole
from unclip.training.state import read_checkpoint

Toy = Callable[..., int]


def checkpoint(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step_{step:08d}"


@pytest.fixture
def run(tmp_path: Path, toy: Toy) -> Path:
    assert toy(tmp_path / "here" / "toy", "train.steps=5", "train.warmup_steps=4") == 0
    return tmp_path / "here" / "toy"


def test_it_goes_on_with_a_fresh_optimiser(run: Path, tmp_path: Path, toy: Toy) -> None:
    shutil.copytree(run / "final", run / "best")
    (part,) = pack([run], tmp_path / "carried")
    assert part.name == "runs.tar.0"
    there = tmp_path / "there"
    assert unpack(tmp_path / "carried", there) == ["toy"]

    light = checkpoint(there / "toy", 5)
    assert {path.name for path in light.iterdir()} == {
        *("shard_00000.safetensors", "state.json", "manifest.json")
    }
    for name in ("model", "ema"):
        whole = read_checkpoint(checkpoint(run, 5), f"{name}.")
        for key, value in read_checkpoint(light, f"{name}.").items():
            torch.testing.assert_close(value, whole[key].half(), rtol=0, atol=0)
    for name in ("final", "best"):
        whole, half = load_stage(run / name), load_stage(there / "toy" / name)
        assert (half.stage, half.metadata) == (whole.stage, whole.metadata)
        for key, value in half.tensors.items():
            torch.testing.assert_close(value, whole.tensors[key].half(), rtol=0, atol=0)

    # Step 6 is the first of a new warm-up, and this is remembered by the run's own checkpoints.
    assert toy(there / "toy", "train.steps=7", "train.warmup_steps=4") == 0
    assert toy(there / "toy", "train.steps=8", "train.warmup_steps=4") == 0
    log = (there / "toy" / "log.jsonl").read_text().splitlines()
    rates = {row["step"]: row["lr"] for row in map(json.loads, log)}
    assert rates == pytest.approx({6: 0.0025, 7: 0.005, 8: 0.0075})
    assert json.loads((checkpoint(there / "toy", 8) / "state.json").read_text())["warm_since"] == 5


def test_what_stands_twice_weighs_once(run: Path, tmp_path: Path) -> None:
    state = checkpoint(run, 5)
    noise = {"weight": torch.randn(200_000)}
    with atomic_folder(state) as folder:
        write_whole(folder, {"model.weight": noise["weight"], "ema.weight": noise["weight"]})
        (folder / "state.json").write_text("{}")
    for name in ("final", "best"):
        save_stage(run / name, StageFolder("toy", {}, {}, noise))
    (part,) = pack([run], tmp_path / "carried")
    assert part.stat().st_size < 1.2 * 2 * 200_000


def test_a_run_that_stands_further_keeps_its_own(run: Path, tmp_path: Path, toy: Toy) -> None:
    pack([run], tmp_path / "carried")
    assert toy(run, "train.steps=6", "train.warmup_steps=4") == 0
    unpack(tmp_path / "carried", run.parent)
    for step in (5, 6):
        assert read_checkpoint(checkpoint(run, step), "optimizer.")


def test_parts_are_small_and_all_needed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carry, "PART_BYTES", 2500)
    (tmp_path / "carried").mkdir()
    (tmp_path / "carried" / "runs.tar.7").write_bytes(b"an older one")
    parts = pack([run], tmp_path / "carried")
    assert len(parts) > 2
    assert max(part.stat().st_size for part in parts) == 2500
    unpack(tmp_path / "carried", tmp_path / "there")
    parts[1].unlink()
    with pytest.raises(CheckpointError, match="lacks parts of"):
        unpack(tmp_path / "carried", tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_damage_is_told(run: Path, tmp_path: Path) -> None:
    (part,) = pack([run], tmp_path / "carried")
    content = bytearray(part.read_bytes())
    content[3000] ^= 1
    part.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged|no usable|lacks"):
        unpack(tmp_path / "carried", tmp_path / "there")
    with pytest.raises(CheckpointError, match="lacks parts of"):
        unpack(tmp_path, tmp_path / "there")


def test_nothing_is_written_outside(tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("evil")
    (tmp_path / "carried").mkdir()
    with tarfile.open(tmp_path / "carried" / "runs.tar.0", "w") as tar:
        tar.add(tmp_path / "evil", "../../escaped")
    with pytest.raises(CheckpointError, match="cannot be unpacked"):
        unpack(tmp_path / "carried", tmp_path / "there")
    assert not (tmp_path.parent / "escaped").exists()


def test_what_cannot_be_carried(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="has no whole checkpoint"):
        pack([tmp_path], tmp_path / "carried")
    with pytest.raises(ConfigError, match="the same name"):
        pack([run, tmp_path / "other" / "toy"], tmp_path / "carried")
    monkeypatch.setattr(carry, "MAX_BYTES", 1000)
    with pytest.raises(ConfigError, match="carry fewer at a time"):
        pack([run], tmp_path / "carried")
    assert list((tmp_path / "carried").iterdir()) == []


def test_the_command(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["pack", str(run), "--out", str(tmp_path / "carried")]) == 0
    assert capsys.readouterr().out.startswith("toy at step 5: 1 parts, 0.")
    assert main(["unpack", str(tmp_path / "carried"), "--runs", str(tmp_path / "there")]) == 0
    assert capsys.readouterr().out == f"toy at step 5 in {tmp_path / 'there'}\n"
    assert main(["pack", str(tmp_path), "--out", str(tmp_path / "carried")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
