"""Backdrops: plain colours and nine simple sceneries, in closed form at any size.

A backdrop is a row of numbers, so a batch of different ones is painted at once: a sky that shades
from top to bottom, a band (the sea), the ground below the horizon, a disc (sun, moon, planet) and
dots (stars, snow, bubbles).
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from unclip.data.composer.noise import hashed

Colour = tuple[int, int, int]

PLAIN: dict[str, Colour] = {
    "red": (226, 84, 84),
    "orange": (247, 178, 103),
    "yellow": (252, 228, 130),
    "green": (142, 205, 142),
    "blue": (140, 190, 240),
    "purple": (190, 160, 225),
    "pink": (250, 196, 214),
    "gray": (188, 192, 198),
    "black": (24, 24, 30),
    "brown": (150, 112, 84),
}
WHITE: Colour = (255, 255, 255)
CELLS = 32
"""Dots stand in the cells of a grid of so many a side."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenery:
    """A simple landscape; colours in 0 to 255, places over the picture's side."""

    sky: tuple[Colour, Colour]
    """At the top and at the bottom."""
    ground: Colour = WHITE
    horizon: float = 2.0
    """Where the ground begins; 2 is nowhere."""
    band: Colour = WHITE
    band_top: float = 2.0
    """Where the band between sky and ground begins."""
    disc: Colour = WHITE
    disc_at: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Centre and radius; no radius is no disc."""
    dots: float = 0.0
    """Share of the cells that have one."""
    dot: Colour = WHITE

    def row(self) -> list[float]:
        """All of it as numbers, colours in [0, 1]."""
        colours = (*self.sky, self.ground, self.band, self.disc, self.dot)
        return [
            *(value / 255 for colour in colours for value in colour),
            *(self.horizon, self.band_top, *self.disc_at, self.dots),
        ]


SCENERIES = {
    "on the grass": Scenery(
        sky=((110, 180, 245), (205, 232, 252)), ground=(104, 178, 80), horizon=0.66
    ),
    "on the beach": Scenery(
        sky=((120, 195, 250), (215, 238, 252)),
        ground=(240, 218, 160),
        horizon=0.68,
        band=(40, 130, 200),
        band_top=0.54,
    ),
    "in the snow": Scenery(
        sky=((186, 208, 232), (222, 234, 246)), ground=(250, 252, 255), horizon=0.66, dots=0.06
    ),
    "in space": Scenery(
        sky=((8, 6, 28), (26, 16, 62)),
        disc=(200, 140, 90),
        disc_at=(0.84, 0.16, 0.09),
        dots=0.09,
        dot=(255, 255, 235),
    ),
    "at night": Scenery(
        sky=((10, 16, 48), (44, 56, 110)),
        ground=(28, 56, 48),
        horizon=0.68,
        disc=(250, 244, 205),
        disc_at=(0.83, 0.14, 0.07),
        dots=0.05,
        dot=(255, 255, 235),
    ),
    "in the desert": Scenery(
        sky=((250, 205, 130), (253, 236, 190)),
        ground=(226, 176, 102),
        horizon=0.64,
        disc=(255, 246, 214),
        disc_at=(0.18, 0.16, 0.08),
    ),
    "underwater": Scenery(
        sky=((60, 165, 215), (10, 60, 120)),
        ground=(220, 200, 150),
        horizon=0.9,
        dots=0.03,
        dot=(190, 230, 250),
    ),
    "at sunset": Scenery(
        sky=((80, 50, 120), (255, 150, 80)),
        ground=(62, 44, 70),
        horizon=0.68,
        disc=(255, 225, 120),
        disc_at=(0.5, 0.64, 0.12),
    ),
    "in a room": Scenery(
        sky=((236, 222, 200), (236, 222, 200)), ground=(168, 120, 80), horizon=0.68
    ),
}

_FILLED = {name: Scenery(sky=(colour, colour)) for name, colour in PLAIN.items()}
BACKDROPS: dict[str, Scenery] = {"white": Scenery(sky=(WHITE, WHITE))} | _FILLED | SCENERIES
NAMES = tuple(BACKDROPS)
DARK = frozenset(("black", "in space", "at night", "at sunset", "underwater"))


def paint_backdrops(
    which: Int[Tensor, " batch"], seeds: Int[Tensor, " batch"], size_px: int
) -> Float[Tensor, "batch 3 size size"]:
    """Paints backdrops in [0, 1].

    Args:
        which: places in `NAMES`.
        seeds: of the dots.
    """
    table = torch.tensor([scenery.row() for scenery in BACKDROPS.values()], device=which.device)
    rows = table[which]
    colours = rearrange(rows[:, :18], "batch (six three) -> six batch three 1 1", six=6, three=3)
    top, bottom, ground, band, disc, dot = colours
    horizon, band_top, x, y, radius, dots = rearrange(rows[:, 18:], "batch six -> six batch 1 1 1")

    place = (torch.arange(size_px, device=which.device, dtype=torch.float32) + 0.5) / size_px
    down, across = rearrange(place, "n -> 1 1 n 1"), rearrange(place, "n -> 1 1 1 n")
    until = torch.minimum(horizon, torch.ones_like(horizon))
    image = torch.lerp(top, bottom, (down / until).clamp(0, 1)).expand(-1, -1, -1, size_px)

    far = ((across - x) ** 2 + (down - y) ** 2).sqrt()
    image = torch.lerp(image, disc, _inside(radius - far, size_px))
    image = torch.lerp(image, dot, _dots(seeds, dots, place, size_px))
    image = torch.lerp(image, band, _inside(down - band_top, size_px))
    return torch.lerp(image, ground, _inside(down - horizon, size_px))


def _inside(depth: Tensor, size_px: int) -> Tensor:
    """Covers what lies inside an edge; a pixel on the edge is covered in part."""
    return (depth * size_px + 0.5).clamp(0, 1)


def _dots(
    seeds: Int[Tensor, " batch"], share: Tensor, place: Float[Tensor, " size"], size_px: int
) -> Float[Tensor, "batch 1 size size"]:
    """A dot in the middle of a share of the cells, of a size that differs."""
    chance = hashed(seeds, CELLS, CELLS)[:, None]
    cell = (place * CELLS).long()
    chance = chance[:, :, cell][..., cell]
    offset = (place * CELLS % 1 - 0.5) / CELLS
    far = (offset[:, None] ** 2 + offset[None] ** 2).sqrt()
    # Rare ones are the large ones.
    radius = (0.12 + 0.3 * (1 - chance / share.clamp(min=1e-6))) / CELLS
    return _inside(radius - far, size_px) * (chance < share)
