"""Labelled sheets of pictures, saved small."""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from unclip.errors import DataError

LABEL_PX = 15
LINES = 2
MARGIN_PX = 6
LINE_PX = LABEL_PX + 4
FOOT_PX = LINES * LINE_PX + MARGIN_PX
QUALITIES = (90, 80, 70, 60)
"""Of WebP; the first at which a sheet is small enough is taken."""
MAX_BYTES = 1_500_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A picture, and what stands below it."""

    image: Image.Image
    label: str


def sheet(cells: Sequence[Cell], columns: int) -> Image.Image:
    """Lays pictures of one size out in rows, each with its label in small text below."""
    assert cells, "a sheet shows something"
    width, height = cells[0].image.size
    rows = -(-len(cells) // columns)
    pitch = width + MARGIN_PX, height + FOOT_PX
    page = Image.new("RGB", (columns * pitch[0] + MARGIN_PX, rows * pitch[1] + MARGIN_PX), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(LABEL_PX)
    for number, cell in enumerate(cells):
        left = MARGIN_PX + number % columns * pitch[0]
        top = MARGIN_PX + number // columns * pitch[1]
        page.paste(cell.image.convert("RGB"), (left, top))
        for place, line in enumerate(_lines(cell.label, font, width)):
            pen.text((left, top + height + place * LINE_PX), line, "black", font)
    return page


def _lines(label: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Breaks a label into the lines that there is room for; a longer one ends in dots."""
    letters = max(len(label), 1)
    while letters > 1:
        lines = textwrap.wrap(label, letters, max_lines=LINES, placeholder="...")
        if all(font.getlength(line) <= width for line in lines):
            return lines
        letters -= 1
    return []


def save_small(image: Image.Image, path: Path) -> None:
    """Writes a WebP of at most 1.5 MB.

    Raises:
        DataError: it would be larger, or cannot be written.
    """
    for quality in QUALITIES:
        content = io.BytesIO()
        image.save(content, "WEBP", quality=quality, method=6)
        if content.tell() <= MAX_BYTES:
            break
    else:
        raise DataError(f"{path} would have more than {MAX_BYTES:,} bytes: show fewer pictures")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.getvalue())
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}") from error
