"""A small set of drawings on disk, as `unclip data illustrations` lays it out."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from unclip.data.composer import nouns
from unclip.data.drawings.records import TABLE, Drawing, table_text

COLOURS = {"red": (214, 40, 40), "green": (60, 170, 80), "blue": (50, 110, 220)}
SOURCES = ("noto", "twemoji")
THINGS = (
    *("apple", "bear", "bee", "bus", "cake", "crab", "deer", "duck", "fox", "goat"),
    *("kite", "lemon", "owl", "pear", "rose", "snail", "star", "tent", "whale", "wolf"),
    *("horse", "elephant", "top hat", "panda"),
)
PEOPLE = ("astronaut", "cook", "mage")
CODES = {noun: code for code, noun in nouns.THINGS.items()}


def drawing(
    number: int,
    *,
    tier: str = "A",
    split: str = "train",
    name: str = "",
    subgroup: str = "tool",
    hexcode: str | None = None,
    source: str = "",
) -> Drawing:
    """The record of one drawing; without a name it shows something of its own."""
    colour = list(COLOURS)[number % 3]
    name = name or f"thing {number}"
    source = source or SOURCES[number % 2]
    key = f"{source}__{number}"
    return Drawing(
        id=key,
        file_name=f"images/{source}/{key}.webp",
        svg=None,
        source=source,
        name=name,
        tone=None,
        keywords=(),
        group="people-body" if subgroup == "person-role" else "animals-nature",
        subgroup=subgroup,
        hexcode=hexcode,
        concept=name,
        styles=("flat art", "line art"),
        colors=((colour, 0.9),),
        coverage=0.4,
        captions=(f"a {name}, line art", name),
        licence="MIT",
        attribution="Nobody",
        tier=tier,
        weight=1.0,
        split=split,
    )


def write_small_set(
    folder: Path, *, foreign: int = 60, sources: Sequence[str] = SOURCES
) -> list[Drawing]:
    """Writes 27 drawings of each source to learn from, which scenes can be made of, 120 and 240
    that are held out, and some of tier C."""
    learned = [(name, "tool", CODES[name]) for name in THINGS]
    learned += [(name, "person-role", f"F{place:03d}") for place, name in enumerate(PEOPLE)]
    found = [
        drawing(place * len(sources) + i, name=name, subgroup=subgroup, hexcode=code, source=source)
        for place, (name, subgroup, code) in enumerate(learned)
        for i, source in enumerate(sources)
    ]
    held_out = [("B", "val")] * 120 + [("A", "test")] * 240 + [("C", "train")] * foreign
    for tier, split in held_out:
        found.append(drawing(len(found), tier=tier, split=split))  # counts itself
    for number, each in enumerate(found):
        path = folder / each.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
        pen = ImageDraw.Draw(image)
        side = 60 + number % 60
        pen.ellipse((128 - side, 60, 128 + side, 200), (*COLOURS[each.colors[0][0]], 255))
        image.save(path, "WEBP", lossless=True, quality=0, method=0)
    (folder / TABLE).write_text(table_text(found), encoding="utf-8")
    return found
