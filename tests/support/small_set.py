"""A small set of drawings on disk, as `unclip data illustrations` lays it out."""

from pathlib import Path

from PIL import Image, ImageDraw

from unclip.data.drawings.records import Drawing, write_table

COLOURS = {"red": (214, 40, 40), "green": (60, 170, 80), "blue": (50, 110, 220)}


def drawing(number: int, *, tier: str, split: str) -> Drawing:
    """The record of one drawing; every second one shares its concept with the one before."""
    colour = list(COLOURS)[number % 3]
    name = f"thing {number // 2}"
    key = f"src{number % 2}__{number}"
    return Drawing(
        id=key,
        file_name=f"images/src{number % 2}/{key}.webp",
        svg=None,
        source=f"src{number % 2}",
        name=name,
        tone=None,
        keywords=(),
        group="objects",
        subgroup="tool",
        hexcode=None,
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


def write_small_set(folder: Path) -> list[Drawing]:
    """Writes 40 drawings to learn from, 120 of each held-out split, and 60 of tier C."""
    wanted = [("A", "train")] * 40 + [("B", "val")] * 120 + [("A", "test")] * 240
    wanted += [("C", "train")] * 60
    found = [drawing(number, tier=t, split=s) for number, (t, s) in enumerate(wanted)]
    for number, each in enumerate(found):
        path = folder / each.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
        pen = ImageDraw.Draw(image)
        side = 60 + number % 60
        pen.ellipse((128 - side, 60, 128 + side, 200), (*COLOURS[each.colors[0][0]], 255))
        image.save(path, "WEBP", lossless=True, quality=0, method=0)
    write_table(folder / "metadata.jsonl", found)
    return found
