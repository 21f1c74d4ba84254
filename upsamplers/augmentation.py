"""Noise on the low-resolution input, whose level the upsampler is told."""

from jaxtyping import Float
from torch import Tensor


def augment(
    low_res: Float[Tensor, "batch 3 height width"],
    level: Float[Tensor, " batch"],
    eps: Float[Tensor, "batch 3 height width"],
) -> Float[Tensor, "batch 3 height width"]:
    """Mixes noise in at a level in [0, 1), keeping the variance (Ho et al. 2021, arXiv
    2106.15282)."""
    level = level[:, None, None, None]
    return (1 - level**2).sqrt() * low_res + level * eps
