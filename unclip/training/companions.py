"""The frozen CLIP beside a stage in training: never wrapped, optimised, averaged or saved."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from unclip.checkpoint import load_stage
from unclip.clip.encoder import CLIP
from unclip.clip.features import TextFeatures
from unclip.clip.files import clip_from_stage
from unclip.errors import ConfigError


def load_clip(folder: str | Path) -> CLIP:
    """Loads a CLIP stage folder in evaluation mode, without gradients."""
    stage = load_stage(Path(folder), "clip")
    clip = clip_from_stage(stage.config, stage.tensors, stage.extra)
    return clip.eval().requires_grad_(False)


class FrozenClip:
    """Encodes training batches in float32, outside autocast and without gradients."""

    def __init__(self, folder: str | Path) -> None:
        self.clip = load_clip(folder)
        self.fingerprint = self.clip.fingerprint()
        self.null: TextFeatures

    def prepare(self, device: torch.device) -> None:
        """Moves CLIP to the device and encodes the empty prompt once."""
        self.clip.to(device)
        self.null = self.text([""])

    def check_fit(self, stage: str, model: object) -> None:
        """Compares a stage's configuration with this CLIP.

        Raises:
            ConfigError: they differ; the message names the first difference.
        """
        for name, got, wanted in self.clip.config.differences(model):
            raise ConfigError(
                f"{stage}: model.{name} is {got}, but this CLIP's is {wanted}: take it"
            )

    @torch.no_grad()
    def text(self, prompts: Sequence[str]) -> TextFeatures:
        """Encodes prompts."""
        with torch.autocast(self._device.type, enabled=False):
            return self.clip.encode_text(list(prompts))

    @torch.no_grad()
    def image(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Encodes pictures in [-1, 1]."""
        with torch.autocast(self._device.type, enabled=False):
            return self.clip.encode_image(images.to(self._device))

    @property
    def _device(self) -> torch.device:
        return self.clip.logit_scale.device
