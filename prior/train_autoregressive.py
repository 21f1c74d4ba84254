"""Trains the autoregressive prior: `accelerate launch -m prior.train_autoregressive --config
configs/paper/prior_autoregressive.yaml --out DIR`."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from prior.autoregressive import AutoregressivePrior, to_stage
from prior.autoregressive_config import AutoregressiveRun
from prior.autoregressive_loss import autoregressive_loss
from prior.codes import Moments, dot_edges
from prior.source import in_batches
from unclip.checkpoint import save_stage
from unclip.training.companions import FrozenClip
from unclip.training.draws import Draws, data_seed
from unclip.training.entry import run
from unclip.training.pictures import open_pictures


class AutoregressiveStage:
    """What the one training loop needs to know of the autoregressive prior."""

    name = "prior"
    channels_last = False

    def __init__(self, config: AutoregressiveRun) -> None:
        self.config = config
        self.clip = FrozenClip(config.clip)
        self.trained_on = {"clip": self.clip.fingerprint}
        self.clip.check_fit(self.name, config.model)
        size_px = self.clip.clip.config.image.image_size
        seed = data_seed(config.train.seed, self.name)
        self.pictures = open_pictures(config.images, size_px=size_px, seed=seed)
        self.dataset = self.pictures.dataset
        self.model = AutoregressivePrior(config.model)
        self.image_embeds: Tensor

    def prepare(self, device: torch.device) -> None:
        """Moves CLIP to the device, embeds every picture once, and fits the codes to them.

        Raises:
            DataError: the embeddings span fewer dimensions than there are codes.
        """
        self.clip.prepare(device)
        self.pictures.prepare(device)
        config = self.config.model
        moments, embeds, dots = Moments(config.embed_dim, device), [], []
        for images, captions in in_batches(self.pictures):
            embed = self.clip.image(images)
            moments.add(embed)
            embeds.append(embed)
            dots.append((embed * self.clip.text(captions).embed).sum(1))
        self.image_embeds = torch.cat(embeds)
        codes = moments.fit(config.num_codes)
        self.model.clip_mean.copy_(codes.mean[None])
        self.model.clip_std.copy_(self.image_embeds.std(0, keepdim=True))
        self.model.components.copy_(codes.components)
        self.model.code_std.copy_(codes.std)
        self.model.dot_edges.copy_(dot_edges(torch.cat(dots), config.num_buckets))

    def loss(self, model: nn.Module, batch: dict, draws: Draws) -> dict[str, Tensor]:
        """Encodes the captions with CLIP, drops some, and scores the prior on the pictures'
        codes."""
        return autoregressive_loss(
            model,
            self.model,
            self.image_embeds[batch["index"]],
            self.clip.text(batch["caption"]),
            self.clip.null,
            draws,
            text_dropout=self.config.text_dropout,
        )

    def export(self, folder: Path, state: dict[str, Tensor]) -> None:
        """Writes a stage folder that names the CLIP it was trained on."""
        save_stage(folder, to_stage(self.config.model, state, dict(self.trained_on)))

    def sheet(self, model: nn.Module) -> Image.Image | None:
        """The prior paints nothing."""
        return None


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    return run(argv, AutoregressiveRun, AutoregressiveStage)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
