"""The loop in fresh processes: resume, `kill -9` at random instants, and two processes."""

import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from processes import TWO, contents, finish, tensors

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.mark.slow
def test_ten_steps_are_five_and_five(tmp_path: Path, start_toy: Start) -> None:
    whole, first = start_toy(tmp_path / "whole"), start_toy(tmp_path / "parts", "train.steps=5")
    finish(first)
    assert "from step 5" in finish(start_toy(tmp_path / "parts"))
    finish(whole)
    expected = contents(tmp_path / "whole")
    assert set(expected) == {"shard_00000.safetensors"}
    assert contents(tmp_path / "parts") == expected
    assert list((tmp_path / "whole" / "tensorboard").iterdir())


@pytest.mark.slow
def test_kill_at_random_instants(tmp_path: Path, start_toy: Start) -> None:
    settings = ("train.steps=60", "train.save_every=2", "step_seconds=0.02")
    finish(start_toy(tmp_path / "whole", *settings))
    seed = random.randrange(10**6)
    instants = random.Random(seed)
    for _ in range(3):
        process = start_toy(tmp_path / "killed", *settings)
        assert process.stdout is not None
        for line in process.stdout:
            if "parameters" in line:  # it begins to train
                break
        time.sleep(instants.uniform(0, 1.5))
        process.kill()
        process.communicate()
    finish(start_toy(tmp_path / "killed", *settings))
    assert contents(tmp_path / "killed", 60) == contents(tmp_path / "whole", 60), f"seed {seed}"
    names = {path.name for path in (tmp_path / "killed" / "checkpoints").iterdir()}
    # Beside the two newest ones, that from which the run went on.
    assert {"step_00000058", "step_00000060"} <= names
    assert len(names) <= 3


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(tmp_path: Path, start_toy: Start) -> None:
    # Sample 15 is not finite and falls to the second process: both must refuse that step.
    settings = ("train.precision=float32", "dropout=0", "nan_positions=[15]")
    one = start_toy(tmp_path / "one", *settings)
    output = finish(start_toy(tmp_path / "two", "train.steps=6", *settings, launcher=TWO))
    assert "1,187 parameters on 2 x cpu" in output
    assert output.count("step 4 (samples 12 to 15 of the stream) is not finite") == 1
    # Then on by one process, in two parts.
    finish(start_toy(tmp_path / "two", "train.accumulation=2", *settings))
    finish(one)
    for name in ("model", "ema"):
        expected, found = tensors(tmp_path / "one")[name], tensors(tmp_path / "two")[name]
        for key, value in expected.items():
            assert torch.allclose(found[key], value, rtol=0, atol=1e-6), key
    logs = [(tmp_path / run / "log.jsonl").read_text().splitlines() for run in ("one", "two")]
    for a, b in zip(*logs, strict=True):
        assert a.partition("images_per_second")[0][:20] == b.partition("images_per_second")[0][:20]
        assert a[a.index('"skipped"') :] == b[b.index('"skipped"') :]


@pytest.mark.slow
def test_two_processes_resume_bit_exactly(tmp_path: Path, start_toy: Start) -> None:
    # In the midst of an epoch, which ends at step 5, and between two accumulated steps.
    parts = "train.accumulation=2"
    finish(start_toy(tmp_path / "whole", parts, launcher=TWO))
    finish(start_toy(tmp_path / "parts", parts, "train.steps=3", launcher=TWO))
    finish(start_toy(tmp_path / "parts", parts, launcher=TWO))
    assert len(contents(tmp_path / "whole")) == 2
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
