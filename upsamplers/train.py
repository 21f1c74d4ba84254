"""Trains an upsampler: `accelerate launch -m upsamplers.train --config
configs/pocket/upsampler_256.yaml --out DIR`."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from unclip.checkpoint import save_stage
from unclip.diffusion.noise import SeededNoise
from unclip.diffusion.schedules import build_schedule
from unclip.training.draws import Draws, data_seed
from unclip.training.entry import run
from unclip.training.pictures import open_crops
from unclip.training.sheets import contact_sheet
from upsamplers.config import UpsamplerRun
from upsamplers.degradation import reduce_size
from upsamplers.loss import upsampler_loss
from upsamplers.model import Upsampler, enlarge, to_stage
from upsamplers.sample import upsample

SHEET_CROPS = 8


class UpsamplerStage:
    """What the one training loop needs to know of an upsampler."""

    channels_last = True
    trained_on: Mapping[str, str] = {}

    def __init__(self, config: UpsamplerRun) -> None:
        self.config = config
        self.name = f"upsampler_{config.model.image_size}"
        self.schedule = build_schedule(config.model.diffusion)
        seed = data_seed(config.train.seed, self.name)
        size_px = config.model.image_size
        self.dataset = open_crops(
            config.images,
            size_px=size_px,
            crop_px=config.crop_px,
            seed=seed,
            caption=config.caption,
        )
        self.model = Upsampler(config.model)
        if config.model.last_network:
            self.model.last.requires_grad_(False)  # kept as it is

    def prepare(self, device: torch.device) -> None:
        """An upsampler has no frozen companion."""

    def loss(self, model: nn.Module, batch: dict, draws: Draws) -> dict[str, Tensor]:
        """Scores the upsampler on a batch of crops."""
        return upsampler_loss(
            model,
            self.config.model,
            self.schedule,
            batch["image"],
            draws,
            degradation=self.config.degradation,
            max_augmentation=self.config.max_augmentation,
            clean_share=self.config.clean_share,
        )

    def export(self, folder: Path, state: dict[str, Tensor]) -> None:
        """Writes a stage folder."""
        save_stage(folder, to_stage(self.config.model, state, {}))

    def sheet(self, model: nn.Module) -> Image.Image | None:
        """Shows crops three times: shrunk and resized, upsampled, and real."""
        assert isinstance(model, Upsampler)
        count = min(SHEET_CROPS, len(self.dataset))
        step = len(self.dataset) / count
        real = torch.stack([self.dataset[int(i * step), 0]["image"] for i in range(count)])
        real = real.to(model.unet.conv_in.weight.device)
        low_res = reduce_size(real, self.config.model.factor)
        painted = upsample(model, low_res, noise=SeededNoise(range(count), self.name))
        resized = enlarge(low_res, self.config.model.factor)
        return contact_sheet(torch.cat([resized, painted, real]), columns=count)


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    return run(argv, UpsamplerRun, UpsamplerStage)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
