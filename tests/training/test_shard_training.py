"""The loop on shards: a resume changes nothing, bad samples are told, and too many end the run."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import toy_stage
from shard_sets import good, make_bad, make_shards, write_tar

from unclip.data.samples import Whole
from unclip.data.shards.index import write_index
from unclip.data.shards.pictures import ShardPictures
from unclip.training import progress, streams
from unclip.training.state import read_checkpoint

Toy = Callable[..., int]


@pytest.fixture
def toy_on(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Toy]:
    """`toy_on(shards)(out, "train.steps=5")` trains the toy stage on shards."""
    monkeypatch.setattr(streams, "BUFFER", 6)
    monkeypatch.setattr(streams, "SLICE", 3)

    def on(root: Path) -> Toy:
        write_index(root)

        def data(_: Any) -> ShardPictures:
            return ShardPictures(root, Whole(toy_stage.SIZE_PX))

        monkeypatch.setattr(toy_stage, "ToyData", data)
        return toy

    return on


def same(a: Path, b: Path) -> bool:
    parts = ("model.", "ema.", "optimizer.")
    pairs = [(read_checkpoint(a, part), read_checkpoint(b, part)) for part in parts]
    return all(first[k].equal(second[k]) for first, second in pairs for k in first)


def test_a_resume_changes_nothing(
    tmp_path: Path, toy_on: Callable[[Path], Toy], capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_shards(tmp_path / "shards")
    faults = make_bad(root)
    toy = toy_on(root)
    assert toy(tmp_path / "whole") == 0
    said = capsys.readouterr().out
    assert "skipped so far: " in said
    last = tmp_path / "whole" / "checkpoints" / "step_00000010"
    kept = json.loads((last / "data_00000.json").read_text())
    assert {(place, reason) for place, reason, _ in kept["faults"]} == faults.keys()
    log = (tmp_path / "whole" / "log.jsonl").read_text().splitlines()
    assert json.loads(log[-1])["skipped"] == sum(count for _, _, count in kept["faults"])

    # In the second epoch, where all is shuffled anew.
    assert toy(tmp_path / "parts", "train.steps=8") == 0
    assert toy(tmp_path / "parts") == 0
    again = tmp_path / "parts" / "checkpoints" / "step_00000010"
    assert same(again, last)
    assert (again / "data_00000.json").read_bytes() == (last / "data_00000.json").read_bytes()


def test_too_many_bad_samples_end_the_run(
    tmp_path: Path,
    toy_on: Callable[[Path], Toy],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # A sixteenth of all is bad, then half.
    monkeypatch.setattr(progress, "MIN_SEEN", 32)
    root = tmp_path / "shards"
    root.mkdir()
    samples = {f"{n}": good(n) for n in range(32)}
    samples["3"] = samples["20"] = {**good(3), "txt": b""}
    write_tar(root / "00000.tar", samples)
    assert toy_on(root)(tmp_path / "few", "train.max_skipped=0.1") == 0
    assert toy_on(root)(tmp_path / "few_too_many") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: 2 of 3") or said.startswith("error: 3 of 3"), said
    assert "could not be used, expected at most 0.05 of all (train.max_skipped)" in said
    samples |= {f"{n}": {**good(n), "jpg": b"<html>"} for n in range(0, 32, 2)}
    write_tar(root / "00000.tar", samples)
    assert toy_on(root)(tmp_path / "half", "train.max_skipped=0.1") == 2
    said = capsys.readouterr().err
    assert "00000.tar: 1" in said
    assert "x no PNG, JPEG or WebP" in said
    assert said.count("\n") == 1


@pytest.mark.slow
# A killed process leaves its end of a socket to the garbage.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("harm", [signal.SIGKILL, signal.SIGSTOP])
def test_a_loader_of_shards_is_gone(
    tmp_path: Path,
    toy_on: Callable[[Path], Toy],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    harm: signal.Signals,
) -> None:
    """Row 23: a plain error, and nothing hangs at the end."""
    toy = toy_on(make_shards(tmp_path / "shards"))
    load = ShardPictures.load

    def harmed(self: ShardPictures, index: int, position: int) -> dict[str, Any]:
        if position == 26 and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), harm)
        return load(self, index, position)

    monkeypatch.setattr(ShardPictures, "load", harmed)
    assert toy(tmp_path / "run", "train.num_workers=1", "train.timeout_seconds=5") == 2
    (error,) = [line for line in capfd.readouterr().err.splitlines() if "error: " in line]
    assert error.startswith("error: a process that loads data is gone or hangs (")
    assert not multiprocessing.active_children()
