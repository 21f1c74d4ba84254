"""One drawing as a 256 px picture with alpha, and as a square SVG where it is a vector drawing."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from unclip.data.drawings.colours import main_colours
from unclip.data.drawings.svg import Page
from unclip.data.pictures import DAMAGE

SIZE_PX = 256
QUALITY = 90
"""Of the WebP files."""
MARGIN = 0.06
"""Share of the side that stays free around a drawing whose own margin was cut."""
OPAQUE = 100
"""Alpha from which a pixel counts as drawn, of 255."""
LEAST_COVERAGE = 0.01
LEAST_CONTRAST = 4
"""Standard deviation of grey levels on white, below which nothing can be seen."""
TALLEST = 6.25
"""Height to width of a page that is refused."""
SMALLEST = 0.3
"""Share of the page's width that the drawing on it must have."""
ALL = 8
"""Alpha from which a pixel is kept when the margin is cut, of 255."""
FORMATS = ("PNG", "WEBP")


class UnfitError(Exception):
    """A drawing that can be rendered but shows too little; says why in a word or two."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A rendered drawing."""

    webp: bytes
    svg: str | None
    """Shows the same as the picture, in the same frame."""
    colors: tuple[tuple[str, float], ...]
    coverage: float
    look: str
    """Equal for drawings that cannot be told apart at 16 px."""


def render(svg: str | None, bitmap: Path | None, *, trim: bool) -> Picture:
    """Renders a drawing.

    Args:
        trim: cut the margin, and scale what is drawn to the square less `MARGIN`.

    Raises:
        UnfitError: it is empty, blank, too small or too tall.
        ValueError, and others of `DAMAGE`: it cannot be read or rendered.
    """
    if svg is not None:
        svg = _trimmed_svg(svg) if trim else svg
        image = _fit(rasterise(svg, SIZE_PX))
    else:
        if bitmap is None:
            raise ValueError("neither SVG nor bitmap")
        with Image.open(bitmap, formats=FORMATS) as file:
            image = file.convert("RGBA")
        image = _trimmed(image) if trim else _fit(image)
    alpha = np.asarray(image.getchannel("A"))
    coverage = float((alpha > OPAQUE).mean())
    if coverage < LEAST_COVERAGE:
        raise UnfitError("empty")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    small = white.resize((64, 64), Image.Resampling.LANCZOS)
    if np.asarray(small).std() < LEAST_CONTRAST:
        raise UnfitError("blank")
    tiny = np.asarray(small.resize((16, 16), Image.Resampling.BOX)) // 8
    out = io.BytesIO()
    image.save(out, "WEBP", quality=QUALITY, method=2)
    return Picture(
        webp=out.getvalue(),
        svg=svg,
        colors=main_colours(image),
        coverage=round(coverage, 3),
        look=hashlib.md5(tiny.tobytes(), usedforsecurity=False).hexdigest(),
    )


def rasterise(svg: str, width_px: int) -> Image.Image:
    """Renders an SVG text; no fonts are used, so that it looks the same on every machine.

    Raises:
        ValueError: it is no SVG that can be rendered.
    """
    import resvg_py

    try:
        png = resvg_py.svg_to_bytes(svg_string=svg, width=width_px, dpi=96, skip_system_fonts=True)
        return Image.open(io.BytesIO(bytes(png)), formats=["PNG"]).convert("RGBA")
    except DAMAGE:
        raise
    except Exception as error:
        raise ValueError(f"resvg: {error}") from error
    except BaseException as error:
        # A panic of the Rust code, which is no Exception.
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        raise ValueError("resvg panicked") from error


def _trimmed_svg(text: str) -> str:
    """Moves the view of a page to what is drawn on it."""
    page = Page(text)
    if page.box.height > TALLEST * page.box.width:
        raise UnfitError("too tall")
    image = rasterise(page.with_view(page.box), SIZE_PX)
    left, top, right, bottom = _drawn(image)
    if max(right - left, bottom - top) < SMALLEST * SIZE_PX:
        raise UnfitError("too small")
    return page.with_view(page.part(left, top, right, bottom, SIZE_PX).squared(MARGIN))


def _trimmed(image: Image.Image) -> Image.Image:
    box = _drawn(image)
    image = image.crop(box)
    if max(image.size) < SMALLEST * SIZE_PX:
        raise UnfitError("too small")
    scale = SIZE_PX * (1 - MARGIN) / max(image.size)
    size = tuple(max(1, round(side * scale)) for side in image.size)
    return _fit(image.resize((size[0], size[1]), Image.Resampling.LANCZOS))


def _drawn(image: Image.Image) -> tuple[int, int, int, int]:
    """The box of what is drawn."""
    box = Image.fromarray(np.asarray(image.getchannel("A")) > ALL).getbbox()
    if box is None:
        raise UnfitError("empty")
    return box


def _fit(image: Image.Image) -> Image.Image:
    """Puts a picture in the middle of a see-through square."""
    if image.size == (SIZE_PX, SIZE_PX):
        return image
    image.thumbnail((SIZE_PX, SIZE_PX), Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (SIZE_PX, SIZE_PX), (0, 0, 0, 0))
    square.paste(image, ((SIZE_PX - image.width) // 2, (SIZE_PX - image.height) // 2))
    return square
