"""The bundled illustrations as sprites: rasterised at any size, cropped, recoloured."""

import io
import json
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from unclip.errors import BackendError, DataError

FOLDER = Path(__file__).with_name("illustrations")

HUES = {
    "red": 0,
    "orange": 28,
    "yellow": 52,
    "green": 125,
    "blue": 215,
    "purple": 275,
    "pink": 325,
    "brown": 22,
}
"""The eight colours of the pocket world, as hues in degrees."""

OPAQUE = 16
"""Alpha from which a pixel counts as drawn, of 255."""
SATURATED = 55
"""Saturation from which a pixel counts as coloured, of 255."""
HUE_REACH = 22
"""How far from a drawing's main hue a pixel's hue may lie to be recoloured, of 256."""


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
        raise BackendError("drawing SVGs needs resvg-py: pip install 'unclip[data]'")
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
    """Finds the hue (0 to 255) that most of a drawing's saturated pixels share; None if none
    does."""
    image = sprite(source, thing, 96)
    hue, saturation, _ = np.moveaxis(
        np.asarray(image.convert("RGB").convert("HSV")).astype(int), -1, 0
    )
    drawn = np.asarray(image.getchannel("A")) > OPAQUE
    saturated = drawn & (saturation > SATURATED)
    if saturated.sum() < 0.35 * drawn.sum():
        return None
    counts = np.bincount(hue[saturated], minlength=256)
    centre = int(np.convolve(np.tile(counts, 3), np.ones(31), "same")[256:512].argmax())
    share = (_hue_distance(hue[saturated], centre) <= HUE_REACH).mean()
    return centre if share > 0.65 else None


def _hue_distance(hue: np.ndarray, centre: int) -> np.ndarray:
    return np.abs((hue.astype(int) - centre + 128) % 256 - 128)


@lru_cache(maxsize=2048)
def recoloured(source: str, thing: str, colour: str, size_px: int) -> Image.Image:
    """Turns a drawing's main hue to one of `HUES`; shading, outlines and other colours stay.

    Raises:
        DataError: the drawing has no main hue.
    """
    centre = main_hue(source, thing)
    if centre is None:
        raise DataError(f"the {thing} of {source} has no main hue that could be recoloured")
    image = sprite(source, thing, size_px)
    pixels = np.asarray(image).copy()
    hsv = np.asarray(image.convert("RGB").convert("HSV")).astype(np.float32)
    near = _hue_distance(hsv[..., 0], centre) <= HUE_REACH
    saturated = near & (hsv[..., 1] > SATURATED) & (pixels[..., 3] > 0)
    hsv[..., 0] = np.where(saturated, HUES[colour] * 255 / 360, hsv[..., 0])
    if colour == "brown":  # a dark orange
        hsv[..., 1] = np.where(saturated, np.clip(hsv[..., 1], 130, 190), hsv[..., 1])
        hsv[..., 2] = np.where(saturated, hsv[..., 2] * 0.58, hsv[..., 2])
    if colour == "pink":
        hsv[..., 1] = np.where(saturated, hsv[..., 1] * 0.6, hsv[..., 1])
        hsv[..., 2] = np.where(saturated, 0.5 * hsv[..., 2] + 127, hsv[..., 2])
    rgb = Image.fromarray(hsv.round().clip(0, 255).astype(np.uint8), "HSV").convert("RGB")
    pixels[..., :3] = np.where(saturated[..., None], np.asarray(rgb), pixels[..., :3])
    return Image.fromarray(pixels, "RGBA")
