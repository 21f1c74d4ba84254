"""One sheet of many pictures."""

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

MAX_SHEET_PX = 4096


def sheet(paths: Sequence[Path]) -> Image.Image:
    """Lays square pictures out as a grid, in order, shrunk where it would exceed 4096 px."""
    columns = math.ceil(math.sqrt(len(paths)))
    rows = math.ceil(len(paths) / columns)
    with Image.open(paths[0]) as image:
        tile = min(image.width, MAX_SHEET_PX // columns)
    page = Image.new("RGB", (columns * tile, rows * tile), "white")
    for place, path in enumerate(paths):
        row, column = divmod(place, columns)
        with Image.open(path) as image:
            small = image.resize((tile, tile), Image.Resampling.LANCZOS)
        page.paste(small, (column * tile, row * tile))
    return page
