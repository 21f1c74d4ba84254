"""The U-Net's residual block, which may halve or double the picture (ADM, arXiv 2105.05233)."""

from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, silu

from unclip.nn.initialise import zero


class ResBlock(nn.Module):
    """norm, SiLU, [resample], conv; time; norm, SiLU, conv; plus the (resampled) input.

    The time enters prepared (`modulation`): with `scale_shift` as norm(h) (1 + scale) + shift,
    without as an addition before the second norm. The second convolution begins at zero, so that
    a block begins as its shortcut.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        temb_dim: int,
        *,
        scale_shift: bool,
        groups: int,
        resample: Literal["down", "up"] | None = None,
        dropout: float = 0.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.scale_shift = scale_shift
        self.resample = resample
        self.norm1 = nn.GroupNorm(groups, in_channels, eps=eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(temb_dim, (2 if scale_shift else 1) * out_channels)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zero(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.conv_shortcut = (
            nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None
        )

    def modulation(self, temb: Float[Tensor, "batch temb"]) -> Float[Tensor, "batch modulation"]:
        """Prepares what the time does to the block: [1 + scale, shift], or what is added."""
        return self.told(self.time_emb_proj(silu(temb)))

    def told(
        self, projected: Float[Tensor, "*batch modulation"]
    ) -> Float[Tensor, "*batch modulation"]:
        """Turns the projected time embedding into the modulation."""
        if not self.scale_shift:
            return projected
        scale, shift = projected.chunk(2, dim=-1)
        return torch.cat([1 + scale, shift], dim=-1)

    def forward(
        self,
        x: Float[Tensor, "batch channels height width"],
        modulation: Float[Tensor, "#batch modulation"],
    ) -> Float[Tensor, "batch out_channels new_height new_width"]:
        """Runs the block with a prepared modulation: a row for each picture, or one for all."""
        h = self.conv1(self.resampled(silu(self.norm1(x))))
        told = rearrange(modulation, "b c -> b c 1 1")
        if self.scale_shift:
            factor, shift = told.chunk(2, dim=1)
            # One kernel in place of two.
            h = torch.addcmul(shift, self.norm2(h), factor)
        else:
            h = self.norm2(h + told)
        h = self.conv2(self.dropout(silu(h)))

        x = self.resampled(x)
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))

    def resampled(self, x: Tensor) -> Tensor:
        """Halves or doubles a picture where the block does so."""
        if self.resample == "down":
            return avg_pool2d(x, 2)
        if self.resample == "up":
            return interpolate(x, scale_factor=2.0, mode="nearest")
        return x
