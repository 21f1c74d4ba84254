"""A training sample made of a picture and its captions, whatever holds them: a folder or shards.

A JPEG that is to become much smaller is decoded at a half, a quarter or an eighth of its size
(Pillow's `draft`), never below twice the size that is asked for, and then resized with
antialiasing: several times faster, and hardly a grey level off (benchmarks/loader.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from unclip.data.pictures import DAMAGE, FORMATS, MAX_PIXELS, plain
from unclip.errors import DataError

MIN_SEEN = 1000
"""Records that are looked at before the share of unusable ones is judged."""
MAX_SKIPPED = 0.05
"""The largest such share that is passed over, where nothing else is asked for."""
DRAFT_FACTOR = 2
"""A picture is never decoded below so many times the size that it is resized to."""


class Unusable(Exception):  # no error of the program's: it is counted
    """A record that cannot be used, and why in few words that can be counted."""

    def __init__(self, reason: str, detail: str = "", place: str = "") -> None:
        super().__init__(f"{detail or place}: {reason}")
        self.reason, self.place = reason, place

    def at(self, place: str, detail: str) -> "Unusable":
        """The same with where it was: the shard or folder, and the record in it."""
        return Unusable(self.reason, detail, place)


class TooLargeError(ValueError):
    """A picture of more pixels than are ever decoded."""


class TooSmallError(ValueError):
    """A picture that is smaller than the square to be cut from it."""


def open_picture(file: Path | BytesIO, shrink_to_px: int | None = None) -> Image.Image:
    """Opens a picture as RGB, upright, transparency on white.

    Args:
        shrink_to_px: the shorter side will be resized to it; a JPEG may come smaller than it is,
            at least `DRAFT_FACTOR` times that.

    Raises:
        any of DAMAGE: it cannot be decoded, or has more than 64 million pixels.
    """
    with Image.open(file, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise TooLargeError(f"{image.width}x{image.height} pixels are too many")
        if shrink_to_px is not None:
            side = DRAFT_FACTOR * shrink_to_px
            image.draft(None, (side, side))
        return plain(image)


def to_tensor(image: Image.Image) -> Float[Tensor, "3 height width"]:
    """Turns an RGB picture into values in [-1, 1]."""
    pixels = torch.from_numpy(np.array(image))
    return pixels.permute(2, 0, 1).float() / 127.5 - 1


def fit_square(image: Image.Image, size_px: int) -> Image.Image:
    """Resizes the shorter side to `size_px` (bicubic, antialiased) and crops the centre."""
    if image.size == (size_px, size_px):
        return image
    return ImageOps.fit(image, (size_px, size_px), Image.Resampling.BICUBIC)


def random_crop(image: Image.Image, crop_px: int, rng: np.random.Generator) -> Image.Image:
    """Cuts a random square, nothing resized.

    Raises:
        TooSmallError: the picture is smaller.
    """
    if min(image.size) < crop_px:
        raise TooSmallError(f"{image.width}x{image.height} pixels are fewer than {crop_px}")
    left, top = (int(rng.integers(side - crop_px + 1)) for side in image.size)
    return image.crop((left, top, left + crop_px, top + crop_px))


@runtime_checkable
class Prepare(Protocol):
    """How a picture becomes what a stage trains on."""

    @property
    def shrink_to_px(self) -> int | None:
        """What the shorter side is resized to; None where nothing is."""
        ...

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Makes a square of a picture."""
        ...


@dataclass(frozen=True)
class Whole:
    """The whole picture: the shorter side resized, the centre cropped."""

    size_px: int

    @property
    def shrink_to_px(self) -> int | None:
        """The size of the square."""
        return self.size_px

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Resizes and crops; draws nothing."""
        return fit_square(image, self.size_px)


@dataclass(frozen=True)
class Crop:
    """A random square at the picture's own resolution."""

    crop_px: int

    @property
    def shrink_to_px(self) -> int | None:
        """Nothing is resized."""
        return None

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Cuts the square."""
        return random_crop(image, self.crop_px, rng)


def make_sample(
    file: Path | BytesIO, captions: tuple[str, ...], prepare: Prepare, rng: np.random.Generator
) -> dict[str, Any]:
    """Returns image (3, height, width) in [-1, 1], and one of the captions.

    Raises:
        Unusable: the picture cannot be decoded, or is too small.
    """
    try:
        image = prepare(open_picture(file, prepare.shrink_to_px), rng)
    except (*DAMAGE, Image.DecompressionBombError) as error:
        raise Unusable(why(error), str(error)) from error
    return {"image": to_tensor(image), "caption": captions[int(rng.integers(len(captions)))]}


def why(error: BaseException) -> str:
    """Says in few words what is wrong with a picture."""
    if isinstance(error, UnidentifiedImageError):
        return "no PNG, JPEG or WebP"
    if isinstance(error, TooLargeError | Image.DecompressionBombError):
        return "too many pixels"
    if isinstance(error, TooSmallError):
        return "too small"
    return "missing" if isinstance(error, FileNotFoundError) else "damaged picture"


def stand_in(
    load: Callable[[int, int], dict[str, Any]], key: tuple[int, int], length: int
) -> dict[str, Any]:
    """Loads the sample of an index, or the next one that can be loaded.

    `skipped` says how many were passed over, `faults` why: a line for each, place and reason.

    Raises:
        DataError: none can be loaded.
    """
    index, position = key
    faults: list[Unusable] = []
    for step in range(length):
        try:
            sample = load((index + step) % length, position)
        except Unusable as fault:
            faults.append(fault)
            continue
        return {**sample, **told(faults)}
    raise DataError(f"none of {length} pictures can be used; the last: {faults[-1]}")


def told(faults: list[Unusable]) -> dict[str, Any]:
    """What a sample says of the records that were passed over before it."""
    lines = (f"{fault.place}: {fault.reason}" for fault in faults)
    return {"skipped": len(faults), "faults": "\n".join(lines)}
