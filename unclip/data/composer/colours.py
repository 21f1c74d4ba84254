"""Colours that captions name, and hue, saturation and value as tensors."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

COLOURS = {
    "red": (2, 0.85, 0.90),
    "orange": (27, 0.88, 0.97),
    "yellow": (51, 0.78, 0.98),
    "green": (125, 0.68, 0.66),
    "blue": (215, 0.75, 0.90),
    "purple": (272, 0.60, 0.74),
    "pink": (328, 0.45, 0.98),
    "brown": (22, 0.65, 0.52),
}
"""What things are recoloured to: hue in degrees, mean saturation, mean value."""
NAMES = tuple(COLOURS)

SATURATED = 0.215
"""Saturation from which a pixel counts as coloured."""
HUE_REACH = 31.0
"""Degrees from a drawing's main hue within which a pixel is recoloured."""


def to_hsv(rgb: Float[Tensor, "batch 3 *size"]) -> Float[Tensor, "batch 3 *size"]:
    """Turns RGB in [0, 1] into hue in degrees, saturation and value in [0, 1] (Smith 1978)."""
    value, which = rgb.max(1)
    spread = value - rgb.amin(1)
    red, green, blue = rgb.unbind(1)
    safe = spread.clamp(min=1e-6)
    sixth = torch.stack(
        [(green - blue) / safe % 6, (blue - red) / safe + 2, (red - green) / safe + 4], 1
    )
    hue = 60 * sixth.gather(1, which[:, None])[:, 0] * (spread > 0)
    return torch.stack([hue, spread / value.clamp(min=1e-6), value], 1)


def to_rgb(hsv: Float[Tensor, "batch 3 *size"]) -> Float[Tensor, "batch 3 *size"]:
    """Turns hue in degrees, saturation and value in [0, 1] into RGB in [0, 1]."""
    hue, saturation, value = hsv.unbind(1)
    channels = []
    for offset in (5.0, 3.0, 1.0):
        k = (offset + hue / 60) % 6
        channels.append(value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(channels, 1)


def recolour(
    rgb: Float[Tensor, "batch 3 height width"],
    main: Float[Tensor, "batch 3"],
    target: Float[Tensor, "batch 3"],
) -> Float[Tensor, "batch 3 height width"]:
    """Turns each picture's main hue to another; shading, outlines and other colours stay.

    Args:
        main: hue in degrees, mean saturation and mean value of what is turned.
        target: the same of what it becomes.
    """
    hsv = to_hsv(rgb)
    main, target = (rearrange(row, "batch three -> batch three 1 1") for row in (main, target))
    distance = ((hsv[:, 0] - main[:, 0] + 180) % 360 - 180).abs()
    turned = (distance <= HUE_REACH) & (hsv[:, 1] > SATURATED)
    scale = target[:, 1:] / main[:, 1:].clamp(min=1e-3)
    moved = (hsv[:, 1:] * scale).clamp(0, 1)
    hue = target[:, :1].expand(-1, 1, *rgb.shape[2:])
    return torch.where(turned[:, None], to_rgb(torch.cat([hue, moved], 1)), rgb)
