"""How near an enlarged picture is to the true one, and how sharp its edges are."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

RISE = 0.2
"""Change of lightness in [0, 1] to the next pixel from which an edge counts; in a soft or pale
picture, half of its steepest change."""
LEAST_RISE = 0.02
"""A picture without such a change is blank."""
REACH_PX = 6
"""How far around a pixel the two sides of its edge are looked for."""


def psnr(
    first: Float[Tensor, "batch 3 height width"], second: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, " batch"]:
    """Returns the peak signal-to-noise ratio in dB of pictures in [-1, 1]; equal ones have 120."""
    error = ((first.double() - second.double()) / 2).square().mean(dim=(1, 2, 3))
    return -10 * error.clamp(min=1e-12).log10()


def edges(
    truth: Float[Tensor, "batch 3 height width"],
) -> Bool[Tensor, "batch height width"]:
    """Marks the pixels of a true picture where the lightness jumps; none in a blank one."""
    slope = _slope(_lightness(truth))
    steepest = slope.amax(dim=(1, 2), keepdim=True)
    return slope > (steepest / 2).clamp(LEAST_RISE, RISE)


def edge_width(
    images: Float[Tensor, "batch 3 height width"], where: Bool[Tensor, "batch height width"]
) -> Float[Tensor, " batch"]:
    """Returns how many pixels an edge takes at its steepest: contrast over slope, the median.

    A step blurred by a Gaussian of deviation s has the width s √(2π).

    Args:
        where: the edges of the true picture, the same for all that are compared.

    Raises:
        ValueError: a picture has no edge.
    """
    if not where.flatten(1).any(dim=1).all():
        raise ValueError("got a picture without edges: leave blank pictures out")
    light = _lightness(images)
    contrast = _largest(light) + _largest(-light)
    width = contrast / _largest(_slope(light)).clamp(min=1e-3)
    rows = [row[mask].median() for row, mask in zip(width, where, strict=True)]
    return torch.stack(rows)


def _lightness(images: Tensor) -> Tensor:
    return ((images.float() + 1) / 2).mean(dim=1)


def _slope(light: Tensor) -> Tensor:
    """Change of lightness to the next pixel, to the right and down; 0 behind the last."""
    across = functional.pad(light.diff(dim=2), (0, 1))
    down = functional.pad(light.diff(dim=1), (0, 0, 0, 1))
    return torch.hypot(across, down)


def _largest(values: Tensor) -> Tensor:
    pooled = functional.max_pool2d(values[:, None], 2 * REACH_PX + 1, stride=1, padding=REACH_PX)
    return pooled[:, 0]
