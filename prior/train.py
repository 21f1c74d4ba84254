"""Trains the prior: `accelerate launch -m prior.train --config configs/pocket/prior.yaml --out
DIR`."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from prior.config import PriorRun
from prior.loss import prior_loss
from prior.model import Prior, to_stage
from unclip.checkpoint import save_stage
from unclip.diffusion.schedules import build_schedule
from unclip.errors import DataError
from unclip.training.companions import FrozenClip
from unclip.training.draws import Draws, data_seed
from unclip.training.entry import run
from unclip.training.pictures import open_pictures, samples_of

EMBEDDING_BATCH = 256


class PriorStage:
    """What the one training loop needs to know of the prior."""

    name = "prior"
    channels_last = False

    def __init__(self, config: PriorRun) -> None:
        self.config = config
        self.schedule = build_schedule(config.model.diffusion)
        self.clip = FrozenClip(config.clip)
        self.trained_on = {"clip": self.clip.fingerprint}
        self.clip.check_fit(self.name, config.model)
        size_px = self.clip.clip.config.image.image_size
        seed = data_seed(config.train.seed, self.name)
        self.pictures = open_pictures(
            config.images, size_px=size_px, seed=seed, caption=config.caption
        )
        self.dataset = self.pictures.dataset
        self.model = Prior(config.model)
        self.image_embeds: Tensor

    def prepare(self, device: torch.device) -> None:
        """Moves CLIP to the device, embeds every picture once, and measures their whitening, if
        it is not kept.

        Raises:
            DataError: all pictures have the same embedding.
        """
        self.clip.prepare(device)
        self.pictures.prepare(device)
        embeds = [self.clip.image(images) for images in self._pictures()]
        self.image_embeds = torch.cat(embeds)
        if self.config.whitening == "kept":
            return
        std = self.image_embeds.std(0, keepdim=True)
        if not bool((std > 0).all()):  # nor NaN, of one picture
            raise DataError(
                f"the {len(self.image_embeds)} pictures of this run do not differ for CLIP, "
                "so their embeddings cannot be whitened: give it more pictures"
            )
        self.model.clip_mean.copy_(self.image_embeds.mean(0, keepdim=True))
        self.model.clip_std.copy_(std)

    def loss(self, model: nn.Module, batch: dict, draws: Draws) -> dict[str, Tensor]:
        """Encodes the captions with CLIP, drops some, and scores the prior on whitened
        embeddings."""
        x_start = self.model.whiten(self.image_embeds[batch["index"]])
        text = self.clip.text(batch["caption"])
        text = text.replace(self.clip.null, draws.bernoulli(self.config.text_dropout))
        return prior_loss(model, self.config.model, self.schedule, x_start, text, draws)

    def export(self, folder: Path, state: dict[str, Tensor]) -> None:
        """Writes a stage folder that names the CLIP it was trained on."""
        save_stage(folder, to_stage(self.config.model, state, dict(self.trained_on)))

    def sheet(self, model: nn.Module) -> Image.Image | None:
        """The prior paints nothing."""
        return None

    def _pictures(self) -> Iterator[Tensor]:
        """All pictures in the folder's order, in batches."""
        for start in range(0, len(self.dataset), EMBEDDING_BATCH):
            indices = range(start, min(start + EMBEDDING_BATCH, len(self.dataset)))
            yield samples_of(self.pictures, indices)[0]


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    return run(argv, PriorRun, PriorStage)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
