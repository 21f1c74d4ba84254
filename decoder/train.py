"""Trains the decoder: `accelerate launch -m decoder.train --config configs/pocket/decoder.yaml
--out DIR`."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from decoder.config import DecoderRun
from decoder.loss import decoder_loss
from decoder.model import Decoder, to_stage
from decoder.sample import sample_images
from unclip.checkpoint import save_stage
from unclip.diffusion.noise import SeededNoise
from unclip.diffusion.schedules import build_schedule
from unclip.training.companions import FrozenClip
from unclip.training.draws import Draws, data_seed
from unclip.training.entry import run
from unclip.training.pictures import open_pictures, samples_of
from unclip.training.sheets import contact_sheet

SHEET_PICTURES = 16


class DecoderStage:
    """What the one training loop needs to know of the decoder."""

    name = "decoder"
    channels_last = True

    def __init__(self, config: DecoderRun) -> None:
        self.config = config
        self.schedule = build_schedule(config.model.diffusion)
        self.clip = FrozenClip(config.clip)
        self.trained_on = {"clip": self.clip.fingerprint}
        self.clip.check_fit(self.name, config.model)
        seed = data_seed(config.train.seed, self.name)
        size_px = config.clip_px or config.model.image_size
        self.pictures = open_pictures(
            config.images, size_px=size_px, seed=seed, caption=config.caption
        )
        self.dataset = self.pictures.dataset
        self.model = Decoder(config.model)

    def prepare(self, device: torch.device) -> None:
        """Moves CLIP, and what paints, to the device."""
        self.clip.prepare(device)
        self.pictures.prepare(device)

    def loss(self, model: nn.Module, batch: dict, draws: Draws) -> dict[str, Tensor]:
        """Encodes a batch with CLIP and scores the decoder on its pictures."""
        seen = self.pictures.images(batch)
        return decoder_loss(
            model,
            self.config.model,
            self.schedule,
            self._shrunk(seen),
            self.clip.image(seen),
            self.clip.text(batch["caption"]),
            self.clip.null,
            draws,
            image_dropout=self.config.image_dropout,
            text_dropout=self.config.text_dropout,
        )

    def export(self, folder: Path, state: dict[str, Tensor]) -> None:
        """Writes a stage folder that names the CLIP it was trained on."""
        save_stage(folder, to_stage(self.config.model, state, dict(self.trained_on)))

    def sheet(self, model: nn.Module) -> Image.Image | None:
        """Paints pictures from the embeddings and captions of real ones: real above, painted
        below."""
        assert isinstance(model, Decoder)
        count = min(SHEET_PICTURES, len(self.dataset))
        step = len(self.dataset) / count
        images, captions = samples_of(self.pictures, [int(i * step) for i in range(count)])
        seen = images.to(self.clip.null.embed.device)
        text = self.clip.text(captions)
        noise = SeededNoise(range(count), self.name)
        painted = sample_images(model, self.clip.image(seen), text, self.clip.null, noise=noise)
        return contact_sheet(torch.cat([self._shrunk(seen), painted]), columns=count)

    def _shrunk(self, images: Tensor) -> Tensor:
        """Pictures at the decoder's size."""
        size_px = self.config.model.image_size
        if images.shape[-1] == size_px:
            return images
        with torch.autocast(images.device.type, enabled=False):
            small = nn.functional.interpolate(images, size_px, mode="bicubic", antialias=True)
        return small.clamp(-1, 1)


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    return run(argv, DecoderRun, DecoderStage)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
