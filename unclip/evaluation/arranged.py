"""Several bundled illustrations in one plain picture: how many, and which stands left."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from unclip.data.illustrations import COLOURS, index, main_hue, recoloured, sprite
from unclip.evaluation.facts import Facts, Shown
from unclip.evaluation.suite import Case

THINGS = {
    "apple": "apples",
    "balloon": "balloons",
    "book": "books",
    "car": "cars",
    "crown": "crowns",
    "fish": "fish",
    "heart": "hearts",
    "key": "keys",
    "moon": "moons",
    "mushroom": "mushrooms",
    "star": "stars",
    "top hat": "top hats",
    "tree": "trees",
    "turtle": "turtles",
    "umbrella": "umbrellas",
    "whale": "whales",
}
"""What is counted, with its plural: drawings in one piece."""
NUMBERS = {2: "two", 3: "three", 4: "four"}
PLACES = {
    2: ((0.27, 0.5), (0.73, 0.5)),
    3: ((0.5, 0.27), (0.26, 0.73), (0.74, 0.73)),
    4: ((0.27, 0.27), (0.73, 0.27), (0.27, 0.73), (0.73, 0.73)),
}
"""Centres over the picture's side, by number."""
SIDE = 0.4
"""Longer side of each thing, over the picture's."""
PLAY = 0.02
MIN_PAINT_PX = 256
"""Smaller pictures are painted at this size and reduced."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrangement:
    """Things on white, all of one source."""

    source: str
    things: tuple[tuple[str, str | None], ...]
    """Name and recolouring of each, in the order of `PLACES`."""
    seed: int


def count_case(number: int, seed: int) -> Case:
    """A case of two, three or four of one thing."""
    rng = np.random.default_rng([seed, number])
    source, style = _source(rng)
    count = 2 + number % 3
    name = list(THINGS)[rng.integers(len(THINGS))]
    colour = _colour(rng, source, name)
    words = [NUMBERS[count], *([colour] if colour else []), THINGS[name]]
    return Case(
        prompt=f"{' '.join(words)}, {style}",
        facts=Facts(
            kind="count", things=(Shown(noun=name, colour=colour),), count=count, style=style
        ),
        key=Arrangement(source=source, things=((name, colour),) * count, seed=number),
    )


def sides_case(number: int, seed: int) -> Case:
    """A case of two different things, one left of the other; every second prompt says it the other
    way round."""
    rng = np.random.default_rng([seed, number])
    source, style = _source(rng)
    names = [list(THINGS)[place] for place in rng.choice(len(THINGS), 2, replace=False)]
    things = tuple((name, _colour(rng, source, name)) for name in names)
    left, right = (Shown(noun=name, colour=colour) for name, colour in things)
    said = f"{_a(left)} to the left of {_a(right)}"
    if number % 2:
        said = f"{_a(right)} to the right of {_a(left)}"
    return Case(
        prompt=f"{said}, {style}",
        facts=Facts(kind="pair", things=(left, right), style=style),
        key=Arrangement(source=source, things=things, seed=number),
    )


def _source(rng: np.random.Generator) -> tuple[str, str]:
    """Chooses a source; returns it and what its look is called."""
    sources = index()["sources"]
    name = list(sources)[rng.integers(len(sources))]
    return name, sources[name]["style"]


def _colour(rng: np.random.Generator, source: str, name: str) -> str | None:
    return list(COLOURS)[rng.integers(len(COLOURS))] if main_hue(source, name) else None


def _a(thing: Shown) -> str:
    return f"an {thing.words}" if thing.words[0] in "aeiou" else f"a {thing.words}"


def paint_arrangement(arrangement: Arrangement, size_px: int, take: int = 0) -> Image.Image:
    """Draws an arrangement as RGB; another take moves its things a little."""
    side = max(size_px, MIN_PAINT_PX)
    rng = np.random.default_rng([arrangement.seed, take])
    canvas = Image.new("RGB", (side, side), "white")
    places: Sequence[tuple[float, float]] = PLACES[len(arrangement.things)]
    for (name, colour), (x, y) in zip(arrangement.things, places, strict=True):
        figure = _figure(arrangement.source, name, colour, round(SIDE * side))
        left = round((x + PLAY * rng.uniform(-1, 1)) * side - figure.width / 2)
        top = round((y + PLAY * rng.uniform(-1, 1)) * side - figure.height / 2)
        canvas.paste(figure, (left, top), figure)
    if size_px < side:
        canvas = canvas.resize((size_px, size_px), Image.Resampling.BOX)
    return canvas


def _figure(source: str, name: str, colour: str | None, size_px: int) -> Image.Image:
    figure = recoloured(source, name, colour, size_px) if colour else sprite(source, name, size_px)
    factor = size_px / max(figure.size)
    size = (max(1, round(figure.width * factor)), max(1, round(figure.height * factor)))
    return figure.resize(size, Image.Resampling.LANCZOS)
