"""A run that begins from another's weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from unclip.checkpoint import StageFolder, load_stage, save_stage
from unclip.errors import ConfigError
from unclip.training.start import start_from

Toy = Callable[..., int]


def test_a_run_begins_from_another_and_goes_on_without_it(
    tmp_path: Path, toy: Toy, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tmp_path / "first"
    assert toy(first) == 0
    still = (f"train.start_from={first / 'final'}", "train.lr=0", "train.seed=3")
    assert toy(tmp_path / "second", "train.steps=2", *still) == 0
    assert "8 tensors begin from" in capsys.readouterr().out
    learned, begun = (load_stage(run / "final").tensors for run in (first, tmp_path / "second"))
    assert all(torch.equal(learned[name], begun[name]) for name in learned)

    # A resumed run has its own weights, and needs the other's no more.
    (first / "final").rename(tmp_path / "moved")
    assert toy(tmp_path / "second", "train.steps=3", *still) == 0
    assert "begin from" not in capsys.readouterr().out


def test_what_does_not_fit_begins_anew(tmp_path: Path) -> None:
    old = nn.ModuleDict({"a": nn.Linear(2, 3), "b": nn.Linear(3, 3)}).state_dict()
    save_stage(tmp_path / "old", StageFolder("toy", {}, {}, old))
    model = nn.ModuleDict({"a": nn.Linear(4, 3), "b": nn.Linear(3, 3), "c": nn.Linear(1, 1)})
    before = model.state_dict()["a.weight"].clone()
    assert start_from(model, tmp_path / "old").endswith("3 anew: a.weight, c.weight, c.bias")
    new = model.state_dict()
    assert all(torch.equal(new[name], old[name]) for name in ("b.weight", "b.bias", "a.bias"))
    assert torch.equal(new["a.weight"], before)

    with pytest.raises(ConfigError, match="none of its 4 tensors fits"):
        start_from(nn.Linear(5, 5), tmp_path / "old")
