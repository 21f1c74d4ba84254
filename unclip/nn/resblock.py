"""The residual block of the U-Net, which may halve or double the picture (ADM, arXiv 2105.05233)."""

from typing import Literal

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, silu


class ResBlock(nn.Module):
    """norm, SiLU, [resample], conv; time; norm, SiLU, conv; plus the (resampled) input.

    The time enters prepared (`modulation`): with `scale_shift` as norm(h) (1 + scale) + shift,
    without as an addition before the second norm.
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
        width = 2 * out_channels if scale_shift else out_channels
        self.time_emb_proj = nn.Linear(temb_dim, width)
        self.norm2 = nn.GroupNorm(groups, out_channels, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        # A block begins as the identity.
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]  # a bias is there by default
        self.conv_shortcut = (
            nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else None
        )

    def modulation(self, temb: Float[Tensor, "batch temb"]) -> Float[Tensor, "batch width"]:
        """Projects the time embedding: scale and shift, or what is added."""
        return self.time_emb_proj(silu(temb))

    def forward(
        self,
        x: Float[Tensor, "batch channels height width"],
        modulation: Float[Tensor, "batch modulation"],
    ) -> Float[Tensor, "batch out_channels new_height new_width"]:
        """Runs the block with a prepared modulation."""
        h = self._resample(silu(self.norm1(x)))
        x = self._resample(x)
        h = self.conv1(h)
        modulation = rearrange(modulation, "b c -> b c 1 1")
        if self.scale_shift:
            scale, shift = modulation.chunk(2, dim=1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + modulation)
        h = self.conv2(self.dropout(silu(h)))
        if self.conv_shortcut is not None:
            x = self.conv_shortcut(x)
        return x + h

    def _resample(self, x: Tensor) -> Tensor:
        if self.resample == "down":
            return avg_pool2d(x, 2)
        if self.resample == "up":
            return interpolate(x, scale_factor=2, mode="nearest")
        return x
