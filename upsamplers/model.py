"""An upsampler: a convolutional U-Net that paints a large picture over a small one.

No attention, no text (unCLIP, arXiv 2204.06125, section 2.1), so it is trained on crops and run
whole.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from unclip.checkpoint import StageFolder, load_tensors
from unclip.config import from_dict, to_dict
from unclip.nn.embeddings import TimestepEmbedding, sinusoid
from unclip.nn.unet import UNet
from upsamplers.config import UpsamplerConfig

LEVEL_SCALE = 1000.0
"""An augmentation level in [0, 1) is told as a time in [0, 1000)."""


class Upsampler(nn.Module):
    """Predicts the noise, x_start or v of a noised picture, given the small one resized to its
    size."""

    def __init__(self, config: UpsamplerConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = UNet(config.unet)
        if config.last_network:
            self.last = UNet(config.unet)
        if config.tells_augmentation:
            width = config.unet.channels[0]
            self.augmentation_embedding = TimestepEmbedding(width, 4 * width)
        if config.unet.refine_channels and config.diffusion.prediction == "x_start":
            # It begins by answering the small picture: a first guess of x_start that AdamW, which
            # moves a weight by about the learning rate a step, would take a thousand steps to find.
            nn.init.dirac_(self.unet.conv_refine.weight[:, -3:])

    def forward(
        self,
        x_t: Float[Tensor, "batch 3 height width"],
        t: Num[Tensor, " batch"],
        low_res: Float[Tensor, "batch 3 height width"],
        level: Float[Tensor, " batch"] | None,
    ) -> Float[Tensor, "batch 3 height width"]:
        """Runs the network; `low_res` is already resized, `level` its augmentation in [0, 1)."""
        return self.unet(torch.cat([x_t, low_res], dim=1), self.modulations(t, level))

    def network(self, *, last: bool) -> UNet:
        """Returns what makes a sampling step: Karlo has another network for the last one."""
        return self.last if last and self.config.last_network else self.unet

    def modulations(
        self, t: Num[Tensor, " batch"], level: Float[Tensor, " batch"] | None
    ) -> tuple[Tensor, ...]:
        """Computes all that depends on the time and the augmentation level."""
        return self.unet.modulations(t, None if level is None else self._embed(level))

    def modulations_of_steps(
        self, times: Sequence[int], level: float | None, *, last: bool = False
    ) -> dict[int, tuple[Tensor, ...]]:
        """Computes the `modulations` of all sampling steps, by time, one row for all pictures."""
        embed = None
        if level is not None:
            embed = self._embed(torch.tensor([level], device=self.unet.conv_in.weight.device))
        return self.network(last=last).modulations_of_steps(times, embed)

    def _embed(self, level: Float[Tensor, " batch"]) -> Float[Tensor, "batch temb"]:
        width = self.unet.config.channels[0]
        weight = self.augmentation_embedding.linear_1.weight
        wave = sinusoid(level.float() * LEVEL_SCALE, width).to(weight.dtype)
        return self.augmentation_embedding(wave)


def enlarge(
    low_res: Float[Tensor, "batch 3 height width"], factor: int
) -> Float[Tensor, "batch 3 large_height large_width"]:
    """Resizes the small picture as Karlo does: bicubic with antialiasing."""
    return nn.functional.interpolate(
        low_res, scale_factor=factor, mode="bicubic", align_corners=False, antialias=True
    )


def to_stage(
    config: UpsamplerConfig, tensors: dict[str, Tensor], metadata: dict[str, object]
) -> StageFolder:
    """Returns what is written to disk."""
    return StageFolder("upsampler", to_dict(config), metadata, tensors, {})


def from_stage(folder: StageFolder, *, dtype: torch.dtype | None = torch.float32) -> Upsampler:
    """Builds an upsampler in evaluation mode from a stage folder's content.

    Args:
        dtype: of its weights; None keeps them as they are stored.
    """
    config = from_dict(UpsamplerConfig, folder.config, "upsampler/config.json")
    with torch.device("meta"):
        upsampler = Upsampler(config)
    load_tensors(upsampler, folder.tensors, "upsampler/model.safetensors", dtype=dtype)
    return upsampler.eval()
