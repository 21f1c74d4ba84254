"""A process that loads data is killed, or hangs (row 23): a plain error, and no sample is lost."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from processes import tensors

Toy = Callable[..., int]


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["SIGKILL:26", "SIGSTOP:26"])
def test_a_loader_is_gone(
    tmp_path: Path, toy: Toy, capfd: pytest.CaptureFixture[str], harm: str
) -> None:
    out = tmp_path / "run"
    # Sample 26 belongs to step 7.
    workers = ("train.num_workers=1", "train.timeout_seconds=25", "train.save_every=2")
    assert toy(out, *workers, f"harm={harm}") == 2
    (error,) = [line for line in capfd.readouterr().err.splitlines() if "error: " in line]
    assert error.startswith("error: a process that loads data is gone or hangs (")
    # The same command without the harm goes on as if nothing had been.
    (out / "config.yaml").unlink()
    assert toy(out) == 0
    assert "resumed from step_0000000" in capfd.readouterr().out
    assert toy(tmp_path / "whole") == 0
    one, two = tensors(out), tensors(tmp_path / "whole")
    for part, named in one.items():
        assert all(torch.equal(value, two[part][name]) for name, value in named.items())
