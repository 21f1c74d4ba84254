"""A stage of 1,187 weights for the loop's tests: `python toy_stage.py --config FILE --out DIR`."""

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from unclip.checkpoint import StageFolder, save_stage
from unclip.training.draws import Draws
from unclip.training.entry import run
from unclip.training.settings import TrainConfig
from unclip.training.sheets import contact_sheet

SIZE_PX = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class ToyRun:
    dropout: float = 0.0
    channels_last: bool = True
    pictures: int = 20
    nan_positions: tuple[int, ...] = ()
    """Samples of the stream that are not finite."""
    step_seconds: float = 0.0
    harm: str = ""
    """`SIGKILL:17` sends that signal to whichever process loads sample 17 of the stream."""
    train: TrainConfig


class ToyData:
    def __init__(self, config: ToyRun) -> None:
        self.config = config

    def __len__(self) -> int:
        return self.config.pictures

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        index, position = key
        number, _, where = self.config.harm.partition(":")
        if where == str(position):
            os.kill(os.getpid(), signal.Signals[number])
        generator = torch.Generator().manual_seed(index)
        image = torch.rand(3, SIZE_PX, SIZE_PX, generator=generator) * 2 - 1
        if position in self.config.nan_positions:
            image[:] = torch.nan
        return {
            "image": image,
            "caption": f"picture {index}",
            "index": index,
            "skipped": int(index == 0),
        }


class ToyStage:
    name = "toy"
    trained_on: Mapping[str, str] = {}

    def __init__(self, config: ToyRun) -> None:
        self.config, self.channels_last = config, config.channels_last
        self.dataset = ToyData(config)
        self.model = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.GroupNorm(4, 16),
            nn.SiLU(),
            nn.Dropout(config.dropout),
            nn.Conv2d(16, 16, 1),
            nn.Conv2d(16, 3, 3, padding=1),
        )

    def prepare(self, device: torch.device) -> None:
        self.device = device

    def loss(self, model: nn.Module, batch: dict[str, Any], draws: Draws) -> dict[str, Tensor]:
        time.sleep(self.config.step_seconds)
        assert len(batch["caption"]) == len(batch["image"])
        noise = draws.normal(batch["image"].shape[1:])
        level = draws.uniform()[:, None, None, None]
        output = model(batch["image"] * (1 - level) + noise * level)
        return {"loss": (output - noise).square().mean(), "level": level.mean()}

    def export(self, folder: Path, state: dict[str, Tensor]) -> None:
        save_stage(folder, StageFolder("toy", {}, {"pictures": self.config.pictures}, state))

    def sheet(self, model: nn.Module) -> Image.Image | None:
        # On purpose from torch's own generator: no sheet may disturb the training.
        return contact_sheet(model(torch.randn(4, 3, SIZE_PX, SIZE_PX)), columns=2)


def main(argv: Sequence[str]) -> int:
    return run(argv, ToyRun, ToyStage)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    # Threads of the process group that outlive it may abort Python as it ends.
    threads = [(task / "comm").read_text() for task in Path("/proc/self/task").glob("*")]
    if any("gloo" in name for name in threads):
        sys.exit(f"threads are left: {threads}")
    sys.exit(code)
