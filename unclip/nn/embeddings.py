"""Times, and other scalars, as vectors: sinusoids and a small network over them."""

import math

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.nn.functional import silu


def sinusoid(
    t: Num[Tensor, " batch"], dim: int, max_period: float = 10_000
) -> Float[Tensor, "batch dim"]:
    """Embeds scalars as [cos(t f_i), sin(t f_i)], f_i = max_period^(-i / (dim / 2)), in float32.

    `dim` is even. The order, cosine first, is that of ADM (arXiv 2105.05233) and Karlo.
    """
    half = dim // 2
    steps = torch.arange(half, dtype=torch.float32, device=t.device)
    frequencies = torch.exp(-math.log(max_period) * steps / half)
    angles = t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class TimestepEmbedding(nn.Module):
    """Linear, SiLU, Linear."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_dim, dim)
        self.linear_2 = nn.Linear(dim, dim)

    def forward(self, wave: Float[Tensor, "batch in_dim"]) -> Float[Tensor, "batch dim"]:
        """Maps sinusoids to the width that the network adds or reads."""
        return self.linear_2(silu(self.linear_1(wave)))
