"""Drawing styles as picture filters; every stroke is relative to the picture's size."""

import math

import numpy as np
from PIL import Image, ImageFilter, ImageOps

PIXEL_ART_CELLS = 32
"""Squares along a side of a pixel-art picture."""


def pencil_drawing(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Grey pencil: dark contours, hatching where the picture is dark, a little paper grain."""
    unit = image.width / 256
    grey = ImageOps.grayscale(image)
    tone = np.asarray(grey, np.float32) / 255

    # Contours: where the tone differs from its surroundings.
    near = np.asarray(grey.filter(ImageFilter.GaussianBlur(1.0 * unit)), np.float32) / 255
    far = np.asarray(grey.filter(ImageFilter.GaussianBlur(3.0 * unit)), np.float32) / 255
    rise, run = np.gradient(near)
    contour = np.clip(np.hypot(rise, run) * 6 * unit + np.clip(far - near, 0, 1) * 2.5, 0, 1)

    # Two directions of hatching, the second only in the darkest parts, with a wavering hand.
    y, x = np.mgrid[: image.height, : image.width].astype(np.float32) / unit
    sway = _smooth(rng, 12, image.size) * 2
    first = 0.5 + 0.5 * np.cos((x + y + sway) * 2 * math.pi / 6)
    second = 0.5 + 0.5 * np.cos((x - y + sway) * 2 * math.pi / 7)
    shade = (
        np.clip(0.95 - tone, 0, 1) * (0.25 + 0.45 * first)
        + np.clip(0.45 - tone, 0, 1) * second * 0.6
    )
    grain = _smooth(rng, 96, image.size) * 0.02
    paper = np.clip(0.98 - 0.85 * contour - 0.75 * shade + grain, 0.06, 1)
    return Image.fromarray((paper * 255).astype(np.uint8)).convert("RGB")


def pixel_art(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Large squares of sixteen colours."""
    cells = (PIXEL_ART_CELLS, PIXEL_ART_CELLS)
    small = image.resize(cells, Image.Resampling.BOX).quantize(16).convert("RGB")
    return small.resize(image.size, Image.Resampling.NEAREST)


def _smooth(rng: np.random.Generator, cells: int, size: tuple[int, int]) -> np.ndarray:
    """Standard normal noise on a coarse grid, enlarged smoothly."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize(size, Image.Resampling.BICUBIC))
