"""SVG views and rendered pictures."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unclip.data.drawings.render import UnfitError, rasterise, render
from unclip.data.drawings.svg import Box, Page, square

HEAD = '<?xml version="1.0" encoding="ISO-8859-1"?>\n<svg xmlns="http://www.w3.org/2000/svg"'
RED = '<rect x="10" y="20" width="40" height="20" fill="#f00"/>'
OUTSIDE = '<rect x="-900" y="0" width="880" height="900" fill="#00f"/>'


def opened(webp: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(webp)))


def test_a_square_view_of_an_icon() -> None:
    wide = square('<rect x="-9" y="-9" width="99" height="99" fill="#f00"/>', Box(0, 0, 20, 10))
    alpha = np.asarray(rasterise(wide, 40).getchannel("A"))
    assert alpha.shape == (40, 40)
    assert (alpha[10:30] == 255).all()
    assert not alpha[:9].any()
    assert not alpha[31:].any()


@pytest.mark.parametrize(
    ("attributes", "box"),
    [
        ('width="72pt" height="1in"', (0, 0, 96, 96)),
        ('width="10cm" height="50%" viewBox="-5 -5, 20 10"', (-5, -5, 20, 10)),
        ("width='30' height='40px'", (0, 0, 30, 40)),
        ('viewBox="0 0 0 0" width="8" height="9"', (0, 0, 8, 9)),
    ],
)
def test_pages(attributes: str, box: tuple[float, ...]) -> None:
    assert Page(f"{HEAD} {attributes}>{RED}</svg>").box == pytest.approx(box)


@pytest.mark.parametrize("text", ["no svg", f"{HEAD}/>", f'{HEAD} width="50%" height="50%"/>'])
def test_pages_without_a_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"no (svg element|size)"):
        Page(text)


def test_clip_art_is_cut_to_what_is_drawn() -> None:
    """The page is 100 x 80; what lies beyond it stays hidden, in the picture and in the SVG."""
    picture = render(f'{HEAD} width="100" height="80">{RED}{OUTSIDE}</svg>', None, trim=True)
    pixels = opened(picture.webp)
    assert pixels.shape == (256, 256, 4)
    rows, columns = np.nonzero(pixels[..., 3] > 128)
    # 40 x 20 units in a square of 40 / 0.94; a little more by the first rendering's pixels.
    assert columns.max() - columns.min() == pytest.approx(0.94 * 256, abs=5)
    assert rows.max() - rows.min() == pytest.approx(0.47 * 256, abs=5)
    assert rows.mean() == pytest.approx(127.5, abs=2)
    assert picture.colors == (("red", 1.0),)
    assert picture.coverage == pytest.approx(0.94 * 0.47, abs=0.02)
    assert picture.svg is not None
    large = np.asarray(rasterise(picture.svg, 512).resize((256, 256), Image.Resampling.BOX))
    assert np.abs(large[..., 3].astype(int) - pixels[..., 3]).mean() < 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("<g/>", "empty"),
        ('<rect width="5" height="5"/>', "too small"),
        ('<rect width="99" height="99" fill="#fff"/>', "blank"),
    ],
)
def test_what_shows_nothing(body: str, reason: str) -> None:
    with pytest.raises(UnfitError, match=reason):
        render(f'{HEAD} width="100" height="100">{body}</svg>', None, trim=True)


def test_a_page_that_is_too_tall() -> None:
    with pytest.raises(UnfitError, match="too tall"):
        render(f'{HEAD} width="10" height="100">{RED}</svg>', None, trim=True)


def test_a_broken_drawing() -> None:
    with pytest.raises(ValueError, match=r"\w"):
        render(f"{HEAD}><rect</svg>", None, trim=False)
    with pytest.raises(OSError, match="no-such-file"):
        render(None, Path("/no-such-file.webp"), trim=False)


def test_bitmaps(tmp_path: Path) -> None:
    image = Image.new("RGBA", (100, 50))
    image.paste((0, 120, 0, 255), (10, 10, 90, 40))
    image.save(tmp_path / "a.png")
    whole = opened(render(None, tmp_path / "a.png", trim=False).webp)
    assert whole.shape == (256, 256, 4)
    trimmed = opened(render(None, tmp_path / "a.png", trim=True).webp)
    columns = np.nonzero((trimmed[..., 3] > 128).any(0))[0]
    assert columns.max() - columns.min() == pytest.approx(0.94 * 256, abs=5)
    (tmp_path / "b.gif").write_bytes(b"GIF89a")
    with pytest.raises(OSError, match="cannot identify"):
        render(None, tmp_path / "b.gif", trim=False)


def test_equal_looks() -> None:
    one = render(square(RED, Box(0, 0, 60, 60)), None, trim=False)
    same = render(square(RED + "<g/>", Box(0, 0, 60, 60)), None, trim=False)
    other = render(square(RED.replace("f00", "00f"), Box(0, 0, 60, 60)), None, trim=False)
    assert one.look == same.look != other.look
