"""Drawing styles as picture filters; every stroke is relative to the picture's size."""

import math

import numpy as np
from PIL import Image, ImageFilter, ImageOps

HATCH_PERIOD = 1 / 64
"""Distance of two pencil strokes along a side, over the picture's side."""
PIXEL_ART_CELLS = 32
"""Squares along a side of a pixel-art picture."""


def pencil_drawing(image: Image.Image) -> Image.Image:
    """Grey pencil: dark contours, and hatching where the picture is dark.

    The strokes repeat with `HATCH_PERIOD` of the picture's side, so that they lie in the same place
    of every pixel at 64 px: there they are an even grey, and an upsampler can learn to draw them.
    """
    unit = image.width / 256
    grey = ImageOps.grayscale(image)
    tone = np.asarray(grey, np.float32) / 255

    # Contours: where the tone differs from its surroundings.
    near = np.asarray(grey.filter(ImageFilter.GaussianBlur(1.0 * unit)), np.float32) / 255
    far = np.asarray(grey.filter(ImageFilter.GaussianBlur(3.0 * unit)), np.float32) / 255
    rise, run = np.gradient(near)
    contour = np.clip(np.hypot(rise, run) * 6 * unit + np.clip(far - near, 0, 1) * 2.5, 0, 1)

    # Two directions of hatching, the second only in the darkest parts.
    y, x = np.mgrid[: image.height, : image.width].astype(np.float32) / image.width
    first = 0.5 + 0.5 * np.cos((x + y) * 2 * math.pi / HATCH_PERIOD)
    second = 0.5 + 0.5 * np.cos((x - y) * 2 * math.pi / HATCH_PERIOD)
    shade = (
        np.clip(0.95 - tone, 0, 1) * (0.25 + 0.45 * first)
        + np.clip(0.45 - tone, 0, 1) * second * 0.6
    )
    paper = np.clip(0.99 - 0.9 * contour - 0.75 * shade, 0.06, 1)
    return Image.fromarray((paper * 255).astype(np.uint8)).convert("RGB")


def pixel_art(image: Image.Image) -> Image.Image:
    """Large squares of sixteen colours."""
    cells = (PIXEL_ART_CELLS, PIXEL_ART_CELLS)
    small = image.resize(cells, Image.Resampling.BOX).quantize(16, kmeans=3).convert("RGB")
    return small.resize(image.size, Image.Resampling.NEAREST)
