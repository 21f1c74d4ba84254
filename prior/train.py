"""Trains the prior: `accelerate launch -m prior.train --config configs/pocket/prior.yaml --out
DIR`."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from prior.config import PriorRun
from prior.loss import prior_loss
from prior.model import Prior, to_stage
from prior.source import open_source
from unclip.checkpoint import save_stage
from unclip.diffusion.schedules import build_schedule
from unclip.training.companions import FrozenClip
from unclip.training.draws import Draws, data_seed
from unclip.training.entry import run


class PriorStage:
    """What the one training loop needs to know of the prior."""

    name = "prior"
    channels_last = False

    def __init__(self, config: PriorRun) -> None:
        self.config = config
        self.schedule = build_schedule(config.model.diffusion)
        self.clip = FrozenClip(config.clip)
        self.clip.check_fit(self.name, config.model)
        self.source = open_source(config, self.clip, data_seed(config.train.seed, self.name))
        self.trained_on = {"clip": self.clip.fingerprint, **self.source.trained_on}
        self.dataset = self.source.dataset
        self.model = Prior(config.model)

    def prepare(self, device: torch.device) -> None:
        """Moves CLIP to the device, and takes the whitening of the embeddings, if it is not kept.

        Raises:
            DataError: the embeddings cannot be whitened.
        """
        self.clip.prepare(device)
        self.source.prepare(device)
        if self.config.whitening == "measured":
            mean, std = self.source.whitening()
            self.model.clip_mean.copy_(mean)
            self.model.clip_std.copy_(std)

    def loss(self, model: nn.Module, batch: dict, draws: Draws) -> dict[str, Tensor]:
        """Encodes the captions with CLIP, drops some, and scores the prior on whitened
        embeddings."""
        x_start = self.model.whiten(self.source.image_embed(batch))
        text = self.clip.text(batch["caption"])
        text = text.replace(self.clip.null, draws.bernoulli(self.config.text_dropout))
        count = self.config.draws_per_caption
        return prior_loss(model, self.config.model, self.schedule, x_start, text, draws, count)

    def export(self, folder: Path, state: dict[str, Tensor]) -> None:
        """Writes a stage folder that names the CLIP it was trained on."""
        save_stage(folder, to_stage(self.config.model, state, dict(self.trained_on)))

    def sheet(self, model: nn.Module) -> Image.Image | None:
        """The prior paints nothing."""
        return None


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    return run(argv, PriorRun, PriorStage)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
