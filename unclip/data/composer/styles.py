"""Styles as filters of whole pictures, batched; every stroke is relative to the picture's side.

Strokes that repeat do so with a period that divides the side, so that they lie in the same place of
every pixel at 64 px: there they are an even grey, and an upsampler can learn to draw them.
"""

import math
from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

from unclip.data.composer.noise import smooth

Images = Float[Tensor, "batch 3 size size"]
Seeds = Int[Tensor, " batch"]
Filter = Callable[[Images, Seeds], Images]

HATCH_PERIOD = 1 / 64
PIXEL_CELLS = 32
NEON = ((0.0, 1.0, 0.94), (1.0, 0.24, 0.86), (0.47, 1.0, 0.31), (1.0, 0.63, 0.16))


def pencil_drawing(images: Images, seeds: Seeds) -> Images:
    """Grey pencil: dark contours, and hatching in two directions where the picture is dark."""
    tone = grey(images)
    contour = (6 * _slope(blur(tone, 1 / 256)) + _valleys(tone, 3 / 256)).clamp(0, 1)
    place = (torch.arange(tone.shape[-1], device=tone.device) + 0.5) / tone.shape[-1]
    down, across = place[:, None], place[None]
    turn = 2 * math.pi / HATCH_PERIOD
    first, second = (0.5 + 0.5 * torch.cos(turn * line) for line in (across + down, across - down))
    shade = (0.95 - tone).clamp(0, 1) * (0.25 + 0.45 * first)
    shade = shade + (0.45 - tone).clamp(0, 1) * 0.6 * second
    return _spread((0.99 - 0.9 * contour - 0.75 * shade).clamp(0.06, 1))


def line_drawing(images: Images, seeds: Seeds) -> Images:
    """Black ink: contours alone."""
    line = 9 * _slope(blur(images, 0.9 / 256)).amax(1, keepdim=True)
    return _spread(1 - ((line - 0.25) * 2.2).clamp(0, 1))


def watercolor(images: Images, seeds: Seeds) -> Images:
    """Paint that pools: soft areas, uneven in strength, darker at their edges."""
    size = images.shape[-1]
    soft = blur(images, 1.6 / 256)
    pools = 0.5 * smooth(seeds, 5, size) + 0.35 * smooth(seeds, 17, size, 1)
    strength = (0.78 + 0.22 * pools).clamp(0.35, 1.05)
    edge = 2.2 * _slope(blur(grey(images), 1.5 / 256))
    return (1 - (1 - soft) * strength - 0.25 * edge.clamp(0, 1)).clamp(0, 1)


def oil_painting(images: Images, seeds: Seeds) -> Images:
    """Thick paint: colours in broad dabs, whose ridges catch the light."""
    size = images.shape[-1]
    x = smooth(seeds, 40, size) / 220
    y = smooth(seeds, 40, size, 1) / 220
    dabs = _displace(blur(images, 1.5 / 256), torch.cat([x, y], 1))
    ridges = smooth(seeds, 40, size, 2) - smooth(seeds, 80, size, 3)
    return (0.98 * dabs + 0.02 * ridges).clamp(0, 1)


def pixel_art(images: Images, seeds: Seeds) -> Images:
    """Large squares, six shades of each channel."""
    cells = interpolate(images, (PIXEL_CELLS, PIXEL_CELLS), mode="area")
    return interpolate((cells * 5).round() / 5, images.shape[-2:], mode="nearest")


def black_and_white(images: Images, seeds: Seeds) -> Images:
    """Shades of grey."""
    return _spread(grey(images))


def sepia(images: Images, seeds: Seeds) -> Images:
    """Brown ink on yellowed paper."""
    ink, paper = (
        rearrange(torch.tensor(rgb, device=images.device), "c -> c 1 1")
        for rgb in ((0.16, 0.09, 0.03), (1.0, 0.94, 0.84))
    )
    return torch.lerp(ink, paper, grey(images))


def neon_sign(images: Images, seeds: Seeds) -> Images:
    """Glowing contours on a dark wall."""
    line = (9 * _slope(blur(images, 0.9 / 256)).amax(1, keepdim=True) - 0.2).clamp(0, 1)
    colours = torch.tensor(NEON, device=images.device)
    colour = rearrange(colours[seeds % len(NEON)], "b c -> b c 1 1")
    wall = rearrange(torch.tensor((0.03, 0.02, 0.09), device=images.device), "c -> c 1 1")
    glow = (2.2 * blur(line, 4 / 256)).clamp(0, 1)
    return (wall + colour * glow + 0.8 * line * (1 - 0.5 * (1 - colour))).clamp(0, 1)


FILTERS: dict[str, Filter] = {
    "pencil drawing": pencil_drawing,
    "black and white line drawing": line_drawing,
    "watercolor painting": watercolor,
    "oil painting": oil_painting,
    "pixel art": pixel_art,
    "black and white picture": black_and_white,
    "sepia drawing": sepia,
    "neon sign": neon_sign,
}
NAMES = tuple(FILTERS)
GREY = frozenset(
    (
        *("pencil drawing", "black and white line drawing", "black and white picture"),
        *("sepia drawing", "neon sign"),
    )
)
"""Filters that leave no colour to be named."""
ON_WHITE = GREY | {"watercolor painting"}
"""Filters of things alone, without a backdrop."""


def grey(images: Images) -> Float[Tensor, "batch 1 size size"]:
    """Luma (ITU-R BT.601)."""
    weights = rearrange(torch.tensor((0.299, 0.587, 0.114), device=images.device), "c -> c 1 1")
    return (images * weights).sum(1, keepdim=True)


def blur(
    images: Float[Tensor, "batch channels size size"], sigma: float
) -> Float[Tensor, "batch channels size size"]:
    """Gaussian blur; sigma over the picture's side."""
    size = images.shape[-1]
    deviation = sigma * size
    reach = max(1, math.ceil(3 * deviation))
    # The average over each pixel of the kernel, so that a narrow one at 64 px keeps its width.
    edges = torch.arange(-reach, reach + 2, device=images.device) - 0.5
    mass = torch.special.ndtr(edges / deviation).diff()
    kernel = (mass / mass.sum()).to(images)
    channels = images.shape[1]
    rows = kernel.expand(channels, 1, 1, -1)
    across = conv2d(pad(images, (reach, reach, 0, 0), mode="replicate"), rows, groups=channels)
    down = pad(across, (0, 0, reach, reach), mode="replicate")
    return conv2d(down, rearrange(rows, "c one a b -> c one b a"), groups=channels)


def _slope(images: Tensor) -> Tensor:
    """How steep each channel is, per 1/256 of the side."""
    unit = images.shape[-1] / 256
    across = pad(images, (1, 1, 0, 0), mode="replicate")
    down = pad(images, (0, 0, 1, 1), mode="replicate")
    dx = (across[..., 2:] - across[..., :-2]) / 2
    dy = (down[..., 2:, :] - down[..., :-2, :]) / 2
    return unit * (dx.square() + dy.square() + 1e-12).sqrt()


def _valleys(tone: Tensor, sigma: float) -> Tensor:
    """Where it is darker than around."""
    return 2.5 * (blur(tone, sigma) - tone).clamp(0, 1)


def _displace(images: Images, offsets: Float[Tensor, "batch 2 size size"]) -> Images:
    """Takes every pixel from a place beside it; offsets over the picture's side."""
    size = images.shape[-1]
    place = (torch.arange(size, device=images.device) + 0.5) * 2 / size - 1
    grid = torch.stack(torch.meshgrid(place, place, indexing="xy"), -1)
    grid = grid + 2 * rearrange(offsets, "b two h w -> b h w two")
    return torch.nn.functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="border", align_corners=False
    )


def _spread(tone: Float[Tensor, "batch 1 size size"]) -> Images:
    return tone.expand(-1, 3, -1, -1)


def shrink(images: Images, size_px: int) -> Float[Tensor, "batch 3 small small"]:
    """Reduces a picture to a side that divides its own, by averaging."""
    factor = images.shape[-1] // size_px
    return images if factor == 1 else avg_pool2d(images, factor)
