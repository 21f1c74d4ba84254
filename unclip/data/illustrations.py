"""The bundled illustrations as sprites: rasterised at any size, cropped, recoloured."""

import io
import json
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from unclip.data.composer.colours import COLOURS
from unclip.errors import BackendError, DataError

FOLDER = Path(__file__).with_name("illustrations")

OPAQUE = 16
"""Alpha from which a pixel counts as drawn, of 255."""
SATURATED = 55
"""Saturation from which a pixel counts as coloured, of 255."""
HUE_REACH = 22
"""How far from a drawing's main hue a pixel's hue may lie to be recoloured, of 256."""
MAIN_SHARE = 0.5
"""Least share of a drawing that its main hue covers; less would make a red house a house with a
red roof."""


@cache
def index(folder: Path = FOLDER) -> dict:
    """Reads `index.json`: the sources with their licences, and the drawings."""
    path = folder / "index.json"
    if not path.is_file():
        raise DataError(
            f"{path} is missing: reinstall unclip, or run python -m unclip.data.fixture"
        )
    return json.loads(path.read_text(encoding="utf-8"))


@lru_cache(maxsize=512)
def sprite(source: str, thing: str, size_px: int) -> Image.Image:
    """Rasterises a drawing with alpha, cropped to what is drawn; its longer side is about
    `size_px`.

    Raises:
        BackendError: the SVG renderer (extra `data`) is not installed.
    """
    if find_spec("resvg_py") is None:
        raise BackendError("drawing SVGs needs resvg-py: pip install resvg-py")
    import resvg_py

    svg = (FOLDER / source / f"{thing.replace(' ', '-')}.svg").read_text(encoding="utf-8")
    png = bytes(
        resvg_py.svg_to_bytes(svg_string=svg, width=size_px, height=size_px, skip_system_fonts=True)
    )
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    drawn = np.asarray(image.getchannel("A")) > OPAQUE
    box = Image.fromarray(drawn).getbbox()
    return image.crop(box) if box else image


@cache
def main_hue(source: str, thing: str) -> int | None:
    """Finds the hue (0 to 255) that covers most of a drawing; None if none does."""
    image = sprite(source, thing, 96)
    hsv = _hsv(image)
    drawn = np.asarray(image.getchannel("A")) > OPAQUE
    saturated = drawn & (hsv[..., 1] > SATURATED)
    counts = np.bincount(hsv[saturated, 0].astype(int), minlength=256)
    centre = int(np.convolve(np.tile(counts, 3), np.ones(31), "same")[256:512].argmax())
    near = drawn & _has_hue(hsv, centre)
    return centre if near.sum() >= MAIN_SHARE * drawn.sum() else None


def _hsv(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB").convert("HSV")).astype(np.float32)


def _has_hue(hsv: np.ndarray, centre: int) -> np.ndarray:
    """Marks the coloured pixels whose hue is near `centre`."""
    distance = np.abs((hsv[..., 0].astype(int) - centre + 128) % 256 - 128)
    return (distance <= HUE_REACH) & (hsv[..., 1] > SATURATED)


@lru_cache(maxsize=2048)
def recoloured(source: str, thing: str, colour: str, size_px: int) -> Image.Image:
    """Turns a drawing's main hue to one of `COLOURS`; shading, outlines and other colours stay.

    Raises:
        DataError: the drawing has no main hue.
    """
    centre = main_hue(source, thing)
    if centre is None:
        raise DataError(f"the {thing} of {source} has no main hue that could be recoloured")
    image = sprite(source, thing, size_px)
    pixels, hsv = np.asarray(image).copy(), _hsv(image)
    main = _has_hue(hsv, centre) & (pixels[..., 3] > 0)
    hue_degrees, *means = COLOURS[colour]
    hsv[main, 0] = hue_degrees * 255 / 360
    for channel, mean in enumerate(means, start=1):
        hsv[main, channel] *= 255 * mean / hsv[main, channel].mean()
    rgb = Image.fromarray(hsv.round().clip(0, 255).astype(np.uint8), "HSV").convert("RGB")
    pixels[main, :3] = np.asarray(rgb)[main]
    return Image.fromarray(pixels, "RGBA")
