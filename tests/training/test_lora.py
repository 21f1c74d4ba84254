"""Training adapters: the loop sees nothing else, and a run goes on only beside the same weights."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_stage
from safetensors.torch import load_file

from unclip.checkpoint import StageFolder, save_stage
from unclip.errors import ConfigError
from unclip.lora_file import FILE
from unclip.nn.lora import LoraConfig
from unclip.training.lora import LoraStage
from unclip.training.settings import TrainConfig
from unclip.training.state import read_checkpoint

TARGETS = ("train.lora.rank=2", 'train.lora.targets=["0","4","5"]')


@pytest.fixture
def base(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    model = toy_stage.ToyStage(toy_stage.ToyRun(train=TrainConfig(steps=1, batch_size=1, lr=1.0)))
    save_stage(tmp_path / "base", StageFolder("toy", {}, {}, dict(model.model.state_dict())))
    return tmp_path / "base"


@pytest.fixture
def prefixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy's layers get the name that a U-Net's have in a file."""
    place = LoraStage.export

    def export(self: LoraStage, folder: Path, state: dict[str, Any]) -> None:
        place(self, folder, {f"unet.{name}": tensor for name, tensor in state.items()})

    monkeypatch.setattr(LoraStage, "export", export)


@pytest.mark.usefixtures("prefixed")
def test_a_run(toy: Callable[..., int], base: Path, tmp_path: Path, capsys: Any) -> None:
    wanted = (f"train.start_from={base}", *TARGETS, "train.sheet_every=5")
    assert toy(tmp_path / "whole", *wanted) == 0
    adapters = 2 * (3 * 9 + 16) + 2 * (16 + 16) + 2 * (16 * 9 + 3)
    assert f"{adapters:,} parameters on" in capsys.readouterr().out
    names = set(read_checkpoint(tmp_path / "whole" / "checkpoints" / "step_00000010", "model."))
    assert names == {f"{i}.lora_{part}.weight" for i in (0, 4, 5) for part in "AB"}
    assert (tmp_path / "whole" / "samples" / "step_00000005.png").is_file()

    # 5 + 5 steps are 10.
    parts = tmp_path / "parts"
    assert toy(parts, *wanted, "train.steps=5") == 0
    assert toy(parts, *wanted) == 0
    whole = load_file(tmp_path / "whole" / "final" / FILE)
    again = load_file(parts / "final" / FILE)
    assert whole["unet.0.lora_B.weight"].abs().max() > 0.01
    assert all(torch.equal(tensor, again[name]) for name, tensor in whole.items())

    # Beside other weights it does not go on.
    stage = toy_stage.ToyStage(toy_stage.ToyRun(train=TrainConfig(steps=1, batch_size=1, lr=1.0)))
    save_stage(base, StageFolder("toy", {}, {}, dict(stage.model.state_dict())))
    capsys.readouterr()
    assert toy(parts, *wanted, "train.steps=12") == 2
    error = capsys.readouterr().err
    assert re.search(r"trained on the base \w+, now there is the base \w+: put the former", error)


def test_settings() -> None:
    common: dict[str, Any] = {"steps": 1, "batch_size": 1, "lr": 1.0}
    with pytest.raises(ConfigError, match=r"train\.lora needs train\.start_from"):
        TrainConfig(lora=LoraConfig(), **common)
