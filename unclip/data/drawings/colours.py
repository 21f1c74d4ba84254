"""The main colours of a drawing by name: the nearest of some dozens of shades in CIELAB."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

SHADES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "red": ((210, 40, 40), (235, 70, 70), (165, 25, 30), (120, 15, 20)),
    "orange": ((245, 140, 30), (225, 105, 20), (250, 165, 85)),
    "yellow": ((250, 210, 50), (255, 235, 110), (225, 185, 30)),
    "green": ((70, 165, 70), (35, 110, 50), (150, 205, 90), (95, 125, 50), (15, 65, 35)),
    "blue": ((50, 120, 215), (30, 70, 160), (70, 150, 235), (25, 40, 100)),
    "light blue": ((140, 205, 240), (180, 225, 245), (95, 190, 235)),
    "purple": ((140, 70, 180), (95, 45, 130), (175, 125, 215)),
    "pink": ((240, 140, 180), (250, 185, 205), (230, 80, 150)),
    "brown": ((135, 85, 55), (95, 60, 40), (165, 110, 70), (60, 38, 28)),
    "gray": ((140, 145, 150), (100, 104, 108), (190, 195, 200)),
    "black": ((30, 30, 35), (0, 0, 0), (55, 55, 60)),
    "white": ((248, 248, 248), (228, 230, 233)),
    "beige": ((235, 205, 165), (245, 230, 205), (205, 175, 135)),
    "teal": ((20, 150, 150), (70, 190, 180), (15, 95, 100)),
}
"""Examples of each colour, sRGB."""
SIDE_PX = 48
OPAQUE = 160
"""Alpha from which a pixel counts, of 255."""
FEWEST_PIXELS = 20
LEAST_SHARE = 0.12
MOST_COLOURS = 3

_NAMES = [name for name, shades in SHADES.items() for _ in shades]
_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])


def cielab(rgb: UInt8[np.ndarray, "colours 3"]) -> Float[np.ndarray, "colours 3"]:
    """Turns sRGB into CIELAB (D65): equal distances there look about equally large."""
    value = rgb / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _TO_XYZ.T / _WHITE
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


_ANCHORS = cielab(np.array([s for shades in SHADES.values() for s in shades], dtype=np.uint8))


def main_colours(image: Image.Image) -> tuple[tuple[str, float], ...]:
    """Names up to three colours that each cover a share of what is drawn, largest first.

    Args:
        image: RGBA.
    """
    small = np.asarray(image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX))
    drawn = small[small[..., 3] > OPAQUE][:, :3]
    if len(drawn) < FEWEST_PIXELS:
        return ()
    distance = ((cielab(drawn)[:, None] - _ANCHORS) ** 2).sum(-1)
    counts: dict[str, int] = {}
    for index, count in zip(*np.unique(distance.argmin(1), return_counts=True), strict=True):
        counts[_NAMES[index]] = counts.get(_NAMES[index], 0) + int(count)
    shares = [(name, round(count / len(drawn), 2)) for name, count in counts.items()]
    shares = [(name, share) for name, share in shares if share > LEAST_SHARE]
    return tuple(sorted(shares, key=lambda item: -item[1])[:MOST_COLOURS])
