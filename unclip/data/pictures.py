"""Any picture as plain RGB: upright, on white where it is see-through, 8 bit.

Only PNG, JPEG and WebP are ever decoded: most faults of image decoders lie in formats that nobody
needs here.
"""

import struct
import warnings
import zlib

import numpy as np
from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 64_000_000

ORIENTATION_TAG = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by its EXIF orientation."""

BY_257 = ((np.arange(65536) + 128) // 257).astype(np.uint8)
"""The nearest of 8 bits to each value of 16."""

DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders are known to raise on damaged files."""


def plain(image: Image.Image) -> Image.Image:
    """Turns a picture of any mode into RGB: upright, on white where it is see-through.

    Raises:
        any of DAMAGE: it cannot be decoded.
    """
    orientation = _orientation(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bit(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        image = white
    image = image.convert("RGB")
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image


def _orientation(image: Image.Image) -> int:
    # Read, not applied by Pillow's exif_transpose: that writes the EXIF anew, and fails where it is
    # broken, which is no reason to refuse a good picture.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return int(image.getexif().get(ORIENTATION_TAG, 1))
        except DAMAGE:
            return 1


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scales 16-bit grey; Pillow's own conversion would clip at 255."""
    grey = np.asarray(image)
    if grey.dtype != np.uint16:
        grey = grey.clip(0, 65535).round().astype(np.uint16)
    result = Image.fromarray(BY_257[grey])
    see_through = image.info.get("transparency")
    if isinstance(see_through, int):
        result = result.convert("LA")
        result.putalpha(Image.fromarray(np.where(grey == see_through, 0, 255).astype(np.uint8)))
    return result
