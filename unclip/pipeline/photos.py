"""A user's picture as RGB, whatever it is: PNG, JPEG or WebP, rotated, see-through, 16 bit.

The size is read from the header before anything is decoded.
"""

import hashlib
import io
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from unclip.data.pictures import DAMAGE, FORMATS, MAX_PIXELS, plain
from unclip.errors import InputError

Fit = Literal["crop", "pad", "stretch"]
FITS: tuple[Fit, ...] = ("crop", "pad", "stretch")

MAX_FILE_BYTES = 256_000_000
MAX_SIDE_PX = 1024
"""Larger pictures are shrunk to it: CLIP looks at far fewer pixels."""

Photo = Image.Image | str | Path | Tensor
"""A picture, its file, or values in [-1, 1] of shape (batch, 3, height, width)."""


@dataclass(frozen=True)
class PhotoFile:
    """A picture that was read from a file."""

    image: Image.Image
    """RGB, upright, on white where it was see-through."""
    sha256: str
    """Of the file's bytes."""


def load(photo: Photo, fit: str) -> Float[Tensor, "batch 3 height width"]:
    """Returns a picture, or a batch of tensors as it is, as values in [-1, 1].

    Raises:
        InputError: the file or picture cannot be read, the tensor is no such batch, `photo` is none
            of these, or `fit` is unknown.
    """
    if isinstance(photo, Tensor):
        _check_values(photo)
        return photo.float()
    if isinstance(photo, Image.Image):
        image = _decode(photo)
    elif isinstance(photo, (str, Path)):
        image = read_photo(photo).image
    else:
        raise InputError(
            f"got {type(photo).__name__} as a picture, expected a PIL image, the path of a file, "
            "or a tensor with values in [-1, 1]"
        )
    return to_tensor(fit_square(image, fit))


def _check_values(photo: Tensor) -> None:
    batch = photo.dim() == 4 and photo.shape[1] == 3 and photo.numel() > 0
    if not (batch and photo.is_floating_point() and bool(photo.abs().le(1).all())):
        raise InputError(
            f"got a tensor of shape {tuple(photo.shape)} and {photo.dtype}, expected (batch, 3, "
            "height, width) with values in [-1, 1]"
        )


def _decode(photo: Image.Image) -> Image.Image:
    if 0 in photo.size:
        raise InputError(f"got a picture of {photo.width}x{photo.height} pixels, expected some")
    try:
        return plain(photo)
    except DAMAGE as error:
        raise InputError(
            "got a picture that is damaged or cut off and cannot be decoded: use another copy"
        ) from error


def read_photo(path: str | Path) -> PhotoFile:
    """Reads a picture file.

    Raises:
        InputError: it is missing, no picture, too large, an animation, or damaged.
    """
    path = Path(path)
    content = _read(path)
    with warnings.catch_warnings():
        # Pillow warns of odd EXIF, and of sizes that are above our own cap.
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                _check_header(image, str(path))
                return PhotoFile(plain(image), hashlib.sha256(content).hexdigest())
        except Image.UnidentifiedImageError as error:
            raise InputError(
                f"{path} is no PNG, JPEG or WebP picture, whatever its name says: convert it first"
            ) from error
        except Image.DecompressionBombError as error:
            raise InputError(f"{path} has more than {MAX_PIXELS:,} pixels: shrink it") from error
        except InputError:
            raise
        except DAMAGE as error:
            raise InputError(
                f"{path} is damaged or cut off and cannot be decoded: use another copy"
            ) from error


def _read(path: Path) -> bytes:
    try:
        about = path.stat()
        if stat.S_ISREG(about.st_mode) and about.st_size <= MAX_FILE_BYTES:
            return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read the picture {path}: {reason}") from error
    if stat.S_ISREG(about.st_mode):
        raise InputError(f"{path} has {about.st_size:,} bytes, at most {MAX_FILE_BYTES:,} are read")
    kind = "a folder" if stat.S_ISDIR(about.st_mode) else "no ordinary file"
    raise InputError(f"{path} is {kind}, expected a picture (PNG, JPEG or WebP)")


def _check_header(image: Image.Image, name: str) -> None:
    """Refuses by what the header says, before a pixel is decoded."""
    if image.width * image.height > MAX_PIXELS:
        raise InputError(
            f"{name} has {image.width}x{image.height} pixels, at most {MAX_PIXELS:,} are read: "
            "shrink it"
        )
    # A phone's JPEG may carry a second picture (MPO), a depth map say; the first is the photo.
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise InputError(
            f"{name} is an animation of {frames} frames, expected one picture: save one frame"
        )


def fit_square(image: Image.Image, fit: str) -> Image.Image:
    """Makes a picture square, at most 1024 px a side: cuts, pads with white, or stretches it.

    Raises:
        InputError: `fit` is none of crop, pad, stretch.
    """
    width, height = image.size
    if fit == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return _shrink(image.crop((left, top, left + side, top + side)))
    if fit == "pad":
        image = _shrink(image)
        side = max(image.size)
        square = Image.new("RGB", (side, side), "white")
        square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        return square
    if fit == "stretch":
        side = min(max(width, height), MAX_SIDE_PX)
        return image.resize((side, side), Image.Resampling.BICUBIC)
    raise InputError(f"--fit {fit} is unknown: choose crop, pad or stretch")


def _shrink(image: Image.Image) -> Image.Image:
    scale = MAX_SIDE_PX / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC)


def to_tensor(image: Image.Image) -> Float[Tensor, "1 3 height width"]:
    """Turns an RGB picture into values in [-1, 1]."""
    pixels = torch.from_numpy(np.array(image))
    return pixels.permute(2, 0, 1)[None].float() / 127.5 - 1
