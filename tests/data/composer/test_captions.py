"""Captions are exact, and what is nearly said is false."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from unclip.data.composer.captions import article, caption, captions, plural, swapped
from unclip.data.composer.scene import Placement, Scene, Thing
from unclip.data.composer.world import World

APPLE = Thing(drawing=0, noun="apple", colour="red")
CAR = Thing(drawing=1, noun="car", colour="blue")
DOG = Thing(drawing=2, noun="dog")
PLACE = Placement(x=0.5, y=0.5, side=0.5)


def scene(kind: str, *things: Thing, **more: Any) -> Scene:
    values: dict[str, Any] = {"kind": kind, "source": "noto", "style": "cartoon emoji"}
    values |= {"filter": None, "things": things, "placements": (PLACE,) * len(things)}
    values |= {"backdrop": "white", "noise_seed": 0, **more}
    return Scene(**values)


def test_every_way_to_say_it() -> None:
    assert captions(scene("single", APPLE)) == [
        "a red apple, cartoon emoji",
        "a cartoon emoji of a red apple",
        "cartoon emoji, a red apple",
        "a red apple",
    ]
    pink = captions(scene("pair", APPLE, CAR, backdrop="pink"))
    assert "a red apple to the left of a blue car on a pink background, cartoon emoji" in pink
    assert "a blue car to the right of a red apple on a pink background" in pink
    assert "a red apple on the left and a blue car on the right on a pink background" in pink
    snow = captions(scene("scenery", DOG, backdrop="in the snow"))
    assert "a dog in the snow" in snow
    many = captions(scene("count", APPLE, APPLE, APPLE))
    assert "three red apples" in many
    big = captions(scene("size", APPLE, DOG))
    assert "a big red apple and a small dog" in big
    assert "a dog riding a car" in captions(scene("ride", DOG, replace(CAR, colour=None)))


def test_a_filter_is_always_named_and_grey_names_no_colour() -> None:
    grey = captions(scene("single", APPLE, style="pencil drawing", filter="pencil drawing"))
    assert grey == [
        "an apple, pencil drawing",
        "a pencil drawing of an apple",
        "pencil drawing, an apple",
    ]
    pixels = captions(scene("single", APPLE, style="pixel art", filter="pixel art"))
    assert "pixel art of a red apple" in pixels
    assert all("pixel art" in said for said in pixels)
    black = captions(scene("single", APPLE, source="fluent-hc", style="black ink drawing"))
    assert not any("red" in said.split() for said in black)


def test_what_is_nearly_said_is_false() -> None:
    both = swapped(scene("pair", APPLE, CAR))
    assert both is not None
    assert [(t.noun, t.colour) for t in both.things] == [("apple", "blue"), ("car", "red")]
    places = swapped(scene("above", APPLE, DOG))
    assert places is not None
    assert [thing.noun for thing in places.things] == ["dog", "apple"]
    # "a red apple and a dog" stays true when they change places.
    assert swapped(scene("pair", APPLE, DOG), ordered=False) is None
    rode = swapped(scene("ride", DOG, CAR))
    assert rode is not None
    assert [thing.noun for thing in rode.things] == ["car", "dog"]
    counted = swapped(scene("count", DOG, DOG))
    assert counted is not None
    assert len(counted.things) == 3
    coloured = swapped(scene("single", APPLE))
    assert coloured is not None
    assert coloured.things[0].colour != "red"
    assert swapped(scene("single", DOG)) is None


def test_no_negative_is_true(world: World) -> None:
    seen = 0
    for index in range(600):
        shown = world.describe(index)
        said, negative = caption(shown, np.random.default_rng(index))
        assert said in captions(shown)
        assert negative not in captions(shown)
        seen += bool(negative)
    assert seen > 200


def test_other_words() -> None:
    said = {caption(scene("single", DOG), np.random.default_rng(i), 1.0)[0] for i in range(60)}
    assert any("puppy" in text for text in said)
    assert not any("dog" in text.split() for text in said if "doggy" not in text)
    plain = {caption(scene("single", DOG), np.random.default_rng(i), 0.0)[0] for i in range(60)}
    assert plain == set(captions(scene("single", DOG)))


@pytest.mark.parametrize(
    ("noun", "said"),
    [
        ("apple", "an apple"),
        ("unicorn", "a unicorn"),
        ("red apple", "a red apple"),
        ("glasses", "glasses"),
        ("bus", "a bus"),
        ("slice of bread", "slice of bread"),
        ("octopus", "an octopus"),
        ("rhinoceros", "a rhinoceros"),
        ("skis", "skis"),
        ("santa claus", "santa claus"),
    ],
)
def test_articles(noun: str, said: str) -> None:
    assert article(noun) == said


@pytest.mark.parametrize(
    ("noun", "several"),
    [
        ("red car", "red cars"),
        ("box", "boxes"),
        ("cherry", "cherries"),
        ("monkey", "monkeys"),
        ("mouse", "mice"),
        ("fish", "fish"),
        ("bus", "buses"),
        ("ox", "oxen"),
        ("scarf", "scarves"),
    ],
)
def test_plurals(noun: str, several: str) -> None:
    assert plural(noun) == several
