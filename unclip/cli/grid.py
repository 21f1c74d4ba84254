"""One sheet of many pictures."""

import math
from collections.abc import Sequence

from PIL import Image

MAX_SHEET_PX = 4096


def sheet(images: Sequence[Image.Image]) -> Image.Image:
    """Lays pictures out as a square grid, in order, shrunk where it would exceed 4096 px."""
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    tile = min(max(images[0].size), MAX_SHEET_PX // columns)
    page = Image.new("RGB", (columns * tile, rows * tile), "white")
    for place, image in enumerate(images):
        row, column = divmod(place, columns)
        page.paste(
            image.resize((tile, tile), Image.Resampling.LANCZOS), (column * tile, row * tile)
        )
    return page
