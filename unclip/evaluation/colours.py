"""Which colour a picture has, by its pixels alone.

How colourful a pixel is, is its chroma in OKLab (Ottosson 2020, "A perceptual color space for image
processing"), where equal numbers look equally strong in every hue; what its colour is called is
told by hue, saturation and value, as painters of emoji pick them.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unclip.evaluation.counting import foreground

CHROMA = 0.05
"""OKLab chroma from which a pixel counts as coloured; pure red has .26."""
GREY_SHARE = 0.02
"""A picture of which less than this is coloured has no colour."""

NAMES = (
    *("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink", "brown"),
    *("black", "gray", "white"),
)
_HUE_ENDS = (15.0, 41.0, 69.0, 160.0, 196.0, 248.0, 297.0, 343.0, 360.0)
_HUE_NAMES = (0, 1, 2, 3, 4, 5, 6, 7, 0)
"""Of `NAMES`, up to each end in degrees."""

_LMS = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


def oklab(
    images: Float[Tensor, "batch 3 height width"],
) -> Float[Tensor, "batch 3 height width"]:
    """Turns sRGB in [-1, 1] into OKLab: lightness in [0, 1], and two axes of chroma."""
    srgb = (images.float().clamp(-1, 1) + 1) / 2
    linear = torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    lms = torch.einsum("ij,bjhw->bihw", srgb.new_tensor(_LMS), linear)
    return torch.einsum("ij,bjhw->bihw", srgb.new_tensor(_LAB), lms ** (1 / 3))


def chroma(images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch height width"]:
    """Returns how colourful each pixel is."""
    return oklab(images)[:, 1:].norm(dim=1)


def has_no_colour(images: Float[Tensor, "batch 3 height width"]) -> Bool[Tensor, " batch"]:
    """Says which pictures in [-1, 1] are black and white, slight tints forgiven."""
    return (chroma(images) >= CHROMA).float().mean(dim=(1, 2)) < GREY_SHARE


def name_pixels(
    images: Float[Tensor, "batch 3 height width"],
) -> Tensor:
    """Returns each pixel's colour as an index of `NAMES` (batch, height, width)."""
    srgb = (images.float().clamp(-1, 1) + 1) / 2
    value, least = srgb.amax(dim=1), srgb.amin(dim=1)
    spread = value - least
    hue = _hue(srgb, value, spread)
    ends = torch.tensor(_HUE_ENDS, device=images.device)
    names = torch.tensor((*_HUE_NAMES, 0), device=images.device)[torch.bucketize(hue, ends)]

    # Pale red is pink, dark orange is brown.
    saturation = spread / value.clamp(min=1e-6)
    red_or_pink = (names == NAMES.index("red")) & (saturation < 0.45) & (value > 0.75)
    dark = (hue >= 9) & (hue < 48) & (value < 0.68)
    names = torch.where(red_or_pink, NAMES.index("pink"), names)
    names = torch.where(dark, NAMES.index("brown"), names)
    grey = torch.where(value < 0.25, NAMES.index("black"), NAMES.index("gray"))
    grey = torch.where(value > 0.85, NAMES.index("white"), grey)
    return torch.where(chroma(images) < CHROMA, grey, names)


def _hue(srgb: Tensor, value: Tensor, spread: Tensor) -> Tensor:
    """Returns the hue in degrees, 0 where there is none."""
    red, green, blue = srgb.unbind(dim=1)
    step = spread.clamp(min=1e-6)
    sixth = torch.where(value == green, 2 + (blue - red) / step, 4 + (red - green) / step)
    sixth = torch.where(value == red, (green - blue) / step, sixth)
    return torch.where(spread > 0, 60 * sixth % 360, 0)


def colour_shares(
    images: Float[Tensor, "batch 3 height width"],
    where: Bool[Tensor, "batch height width"] | None = None,
) -> Float[Tensor, "batch colours"]:
    """Returns how much of a picture's chroma each colour of `NAMES` has; rows sum to 1, or are 0.

    Args:
        where: the pixels that count; None is all.
    """
    strength = chroma(images)
    strength = strength * (strength >= CHROMA)
    if where is not None:
        strength = strength * where
    found = strength.new_zeros(len(images), len(NAMES))
    found.scatter_add_(1, name_pixels(images).flatten(1), strength.flatten(1))
    return found / found.sum(dim=1, keepdim=True).clamp(min=1e-9)


def is_dominant(
    images: Float[Tensor, "batch 3 height width"], colours: list[str]
) -> Bool[Tensor, " batch"]:
    """Says whether what stands out in each picture has more of its colour than of any other.

    Raises:
        ValueError: a colour has no chroma or no name here.
    """
    unknown = [colour for colour in colours if colour not in NAMES[:9]]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no colour of {', '.join(NAMES[:9])}")
    shares = colour_shares(images, foreground(images))
    asked = torch.tensor([NAMES.index(colour) for colour in colours], device=images.device)
    return (shares.argmax(dim=1) == asked) & (shares.amax(dim=1) > 0)
