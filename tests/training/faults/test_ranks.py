"""Runs of two and three processes: another number of them, and faults of one (rows 6 to 8, 19, 33
of the fault matrix). The processes are forked; the launcher's own part is in test_launchers.py."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from forks import fork_ranks, join
from processes import tensors

Toy = Callable[..., int]
EXACT = ("train.precision=float32", "dropout=0", "train.batch_size=12")


def differ(a: Path, b: Path) -> float:
    """The largest difference of two runs' weights and averages."""
    one, two = tensors(a), tensors(b)
    return max(
        float((value - two[part][name]).abs().max())
        for part in ("model", "ema")
        for name, value in one[part].items()
    )


def wait_for(text: str, output: Path, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not output.exists() or text not in output.read_text():
        assert time.monotonic() < until, output.read_text()
        time.sleep(0.02)


@pytest.mark.slow
def test_another_number_of_processes_goes_on(tmp_path: Path, toy: Toy) -> None:
    out, output = tmp_path / "run", tmp_path / "output"
    assert toy(tmp_path / "whole", *EXACT) == 0
    for count, steps in ((2, 2), (1, 4), (2, 7), (3, 10)):
        pids = fork_ranks(count, lambda s=steps: toy(out, f"train.steps={s}", *EXACT), output)
        assert join(pids) == [0] * count, output.read_text()
    said = output.read_text()
    assert "resumed from step_00000004, the newest one (written by 1 process)" in said
    assert "resumed from step_00000007, the newest one (written by 2 processes)" in said
    newest = out / "checkpoints" / "step_00000010"
    assert len(list(newest.glob("shard_*.safetensors"))) == 3
    assert differ(tmp_path / "whole", out) < 1e-6
    # What 3 processes wrote, 1 reads, optimiser and all.
    assert toy(out, "train.steps=11", *EXACT) == 0
    assert toy(tmp_path / "whole", "train.steps=11", *EXACT) == 0
    one, two = tensors(out, 11)["optimizer"], tensors(tmp_path / "whole", 11)["optimizer"]
    assert one.keys() == two.keys()
    assert all(torch.allclose(value, two[name], atol=1e-6) for name, value in one.items())


@pytest.mark.slow
def test_a_sample_that_is_not_finite_on_one_of_two(tmp_path: Path, toy: Toy) -> None:
    # Samples 14 and 15 belong to step 4 and to the second process.
    out, output = tmp_path / "run", tmp_path / "output"
    bad = (*EXACT[:2], "nan_positions=[15, 18, 23]", "train.max_nonfinite=3")
    pids = fork_ranks(2, lambda: toy(out, *bad, "train.steps=4"), output)
    assert join(pids) == [0, 0], output.read_text()
    assert toy(tmp_path / "clean", *EXACT[:2], "train.steps=3") == 0
    found, clean = tensors(out, 4), tensors(tmp_path / "clean", 3)
    for name, value in found["model"].items():
        torch.testing.assert_close(value, clean["model"][name], rtol=0, atol=1e-6)
    assert output.read_text().count("(samples 12 to 15 of the stream) is not finite") == 1
    # Three in a row end the run on both, and what was saved is the last good one.
    assert join(fork_ranks(2, lambda: toy(out, *bad), output)) == [3, 3]
    record = json.loads((out / "checkpoints" / "step_00000004" / "state.json").read_text())
    assert (record["nonfinite"], record["world_size"]) == (1, 2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_to_one_stops_and_saves_all(
    tmp_path: Path, toy: Toy, number: signal.Signals
) -> None:
    out, output = tmp_path / "run", tmp_path / "output"
    pids = fork_ranks(2, lambda: toy(out, "train.steps=1000", "step_seconds=0.02"), output)
    wait_for("step 5/1000", output)
    os.kill(pids[1], number)
    assert join(pids) == [85, 130 if number == signal.SIGINT else 85], output.read_text()
    (saved,) = (out / "checkpoints").iterdir()
    assert f"stopped, saved at {int(saved.name[5:])}" in output.read_text()
    assert not (out / "final").exists()


@pytest.mark.slow
def test_a_process_that_is_killed_or_hangs_is_named(
    tmp_path: Path, toy: Toy, capfd: pytest.CaptureFixture[str]
) -> None:
    out, output = tmp_path / "run", tmp_path / "output"
    settings = ("train.steps=1000", "step_seconds=0.02", "train.save_every=4")
    settings = (*settings, "train.timeout_seconds=10")
    for number, least in ((signal.SIGKILL, 0), (signal.SIGSTOP, 5)):
        output.unlink(missing_ok=True)
        pids = fork_ranks(2, lambda: toy(out, *settings), output)
        wait_for("step 9", output) if number == signal.SIGKILL else wait_for("images_per", output)
        os.kill(pids[1], number)
        begun = time.monotonic()
        assert join(pids[:1], 40) == [1], output.read_text()
        assert least < time.monotonic() - begun < 20
        said = output.read_text()
        assert "error: process 1 was killed or does not answer (seen by process 0 of 2)" in said
        assert "Traceback" not in said
        if number == signal.SIGSTOP:
            os.kill(pids[1], signal.SIGKILL)
        assert join(pids[1:]) == [-9]
    # The others' last checkpoint is whole.
    assert toy(out, *settings, "train.steps=1") == 2
    assert "past train.steps 1" in capfd.readouterr().err


@pytest.mark.slow
def test_a_second_signal_ends_a_process_that_waits(tmp_path: Path, toy: Toy) -> None:
    out, output = tmp_path / "run", tmp_path / "output"
    pids = fork_ranks(2, lambda: toy(out, "train.steps=1000", "step_seconds=0.02"), output)
    wait_for("step 3/1000", output)
    os.kill(pids[1], signal.SIGSTOP)
    os.kill(pids[0], signal.SIGTERM)
    time.sleep(2.5)
    begun = time.monotonic()
    os.kill(pids[0], signal.SIGTERM)
    assert join(pids[:1]) == [128 + signal.SIGTERM]
    assert time.monotonic() - begun < 1
    os.kill(pids[1], signal.SIGKILL)
    join(pids[1:])


def test_fewer_pictures_than_processes(tmp_path: Path, toy: Toy) -> None:
    """Row 20: every process takes the same number of steps, by construction."""
    output = tmp_path / "output"
    pids = fork_ranks(3, lambda: toy(tmp_path / "run", *EXACT, "pictures=1"), output)
    assert join(pids) == [0, 0, 0], output.read_text()


@pytest.mark.slow
def test_two_jobs_in_one_folder(tmp_path: Path, toy: Toy) -> None:
    """The second is refused, all of it; when the first is killed, a third goes on."""
    out, output, second = tmp_path / "run", tmp_path / "output", tmp_path / "second"
    settings = ("train.steps=1000", "step_seconds=0.02", "train.save_every=5")
    first = fork_ranks(2, lambda: toy(out, *settings), output)
    wait_for("step 7/1000", output)
    begun = time.monotonic()
    assert set(join(fork_ranks(2, lambda: toy(out, *settings), second))) <= {1, 2}
    assert time.monotonic() - begun < 15
    assert f"{out} is in use by process {first[0]} on " in second.read_text()
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    join(first)
    third = fork_ranks(2, lambda: toy(out, *settings), second)
    wait_for("resumed from step_", second)
    os.kill(third[0], signal.SIGTERM)
    assert join(third) == [85, 85]
