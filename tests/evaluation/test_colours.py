import colorsys

import pytest
import torch
from drawn_pictures import RGB, add_disc, apple, plain

from unclip.data.illustrations import COLOURS
from unclip.evaluation.colours import (
    NAMES,
    chroma,
    colour_shares,
    has_no_colour,
    is_dominant,
    name_pixels,
    oklab,
)


def test_oklab_of_known_colours() -> None:
    """Ottosson's own values: white is (1, 0, 0); red (.6279554, .2248631, .1258463)."""
    images = torch.stack([plain((1.0, 1.0, 1.0)), plain((1.0, 0.0, 0.0)), plain((0.0, 0.0, 0.0))])
    found = oklab(images)[:, :, 0, 0]
    wanted = torch.tensor([[1.0, 0, 0], [0.6279554, 0.2248631, 0.1258463], [0, 0, 0]])
    assert torch.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("colour", RGB)
@pytest.mark.parametrize("ground", [(1.0, 1.0, 1.0), (0.75, 0.76, 0.78), (0.1, 0.1, 0.12)])
def test_an_apple_has_its_colour_and_no_other(
    colour: str, ground: tuple[float, float, float]
) -> None:
    image = apple(colour, ground)[None]
    assert [name for name in NAMES[:9] if is_dominant(image, [name])[0]] == [colour]
    assert not has_no_colour(image)[0]


def test_a_coloured_background_does_not_count() -> None:
    """A red apple on blue is red, and a blue one on red is not."""
    images = torch.stack([apple("red", RGB["blue"]), apple("blue", RGB["red"])])
    assert is_dominant(images, ["red", "red"]).tolist() == [True, False]
    assert is_dominant(images, ["blue", "blue"]).tolist() == [False, True]


@pytest.mark.parametrize("colour", COLOURS)
def test_the_bundled_worlds_colours_have_their_names(colour: str) -> None:
    hue, saturation, value = COLOURS[colour]
    for shade in (0.9, 1.0):
        image = plain(colorsys.hsv_to_rgb(hue / 360, saturation, shade * value))
        assert NAMES[int(name_pixels(image[None])[0, 0, 0])] == colour


def test_grey_pictures_have_no_colour() -> None:
    grey = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    tint = torch.tensor([0.02, 0.0, -0.02])[:, None, None]
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert has_no_colour(grey.expand(1, 3, 64, 64))[0]
    assert has_no_colour(grey + tint)[0]
    assert has_no_colour(plain((0.6, 0.6, 0.6))[None] + 0.02 * noise)[0]
    assert not has_no_colour(grey + 10 * tint)[0]
    assert not has_no_colour(noise)[0]


def test_a_little_colour_is_colour() -> None:
    image = add_disc(plain((0.5, 0.5, 0.5)), 32, 32, 3, RGB["red"])
    assert has_no_colour(image[None])[0]  # 29 of 4096 pixels
    assert not has_no_colour(add_disc(image, 32, 32, 8, RGB["red"])[None])[0]


def test_blank_pictures_have_no_dominant_colour() -> None:
    blank = torch.stack([plain(), plain((0.0, 0.0, 0.0)), plain(RGB["red"])])
    assert not is_dominant(blank, ["red"] * 3).any()
    assert colour_shares(blank).sum(dim=1).tolist() == [0.0, 0.0, pytest.approx(1.0)]
    assert float(chroma(blank[:2]).max()) < 1e-3


def test_a_colour_without_chroma_is_refused() -> None:
    with pytest.raises(ValueError, match="'gray' is no colour of red"):
        is_dominant(plain()[None], ["gray"])
