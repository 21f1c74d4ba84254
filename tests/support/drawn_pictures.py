"""Pictures whose figures are known, drawn by numbers."""

import torch
from torch import Tensor

RGB = {
    "red": (0.85, 0.1, 0.12),
    "orange": (0.97, 0.55, 0.1),
    "yellow": (0.99, 0.87, 0.2),
    "green": (0.25, 0.65, 0.3),
    "teal": (0.1, 0.6, 0.6),
    "blue": (0.2, 0.45, 0.9),
    "purple": (0.55, 0.3, 0.75),
    "pink": (0.98, 0.6, 0.8),
    "brown": (0.45, 0.28, 0.15),
}


def plain(colour: tuple[float, float, float] = (1.0, 1.0, 1.0), size: int = 64) -> Tensor:
    """One picture (3, size, size) in [-1, 1] of one colour, given in [0, 1]."""
    return (torch.tensor(colour)[:, None, None] * 2 - 1).expand(3, size, size).clone()


def add_disc(
    image: Tensor, x: float, y: float, radius: float, colour: tuple[float, float, float]
) -> Tensor:
    """Draws a disc into a picture, in pixels; returns it."""
    side = torch.arange(image.shape[-1])
    inside = (side[None] - x) ** 2 + (side[:, None] - y) ** 2 <= radius**2
    image[:, inside] = torch.tensor(colour)[:, None] * 2 - 1
    return image


def apple(colour: str, ground: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Tensor:
    """A shaded apple with a light spot, a stalk and a leaf."""
    image = plain(ground)
    base = RGB[colour]
    for step in range(18):  # darker to the edge
        shade = 0.8 + 0.2 * step / 17
        add_disc(image, 32, 36, 20 - step, tuple(shade * c for c in base))  # type: ignore[arg-type]  # three
    add_disc(image, 26, 28, 3, (1.0, 1.0, 1.0))
    image[:, 10:18, 31:33] = torch.tensor(RGB["brown"])[:, None, None] * 2 - 1
    return add_disc(image, 38, 12, 4, RGB["green"])
