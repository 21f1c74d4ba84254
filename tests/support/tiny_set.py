"""A small set of drawings in the built set's layout, of the repository's own illustrations."""

import io
from pathlib import Path

import resvg_py
from PIL import Image

from unclip.data.composer.nouns import THINGS
from unclip.data.drawings.records import TABLE, Drawing, table_text
from unclip.data.illustrations import FOLDER, index

SOURCES = {"noto": "noto", "fluent-flat": "fluent-emoji-flat"}
CODES = {noun: code for code, noun in THINGS.items()}
CODES |= {"astronaut": "1F9D1-200D-1F680", "cat": "1F431", "dog": "1F436", "cup": "2615"}
SIDE_PX = 256


def make_tiny_set(folder: Path) -> Path:
    """Writes 36 things in two sources, their SVGs beside them."""
    drawings = []
    for entry in index()["drawings"]:
        for source, name in SOURCES.items():
            if entry["source"] == name:
                drawings.append(_drawing(folder, source, name, entry["thing"]))
    (folder / TABLE).write_text(table_text(drawings), encoding="utf-8")
    return folder


def _drawing(folder: Path, source: str, name: str, thing: str) -> Drawing:
    key = f"{source}__{thing.replace(' ', '-')}"
    svg = (FOLDER / name / f"{thing.replace(' ', '-')}.svg").read_text(encoding="utf-8")
    content = bytes(
        resvg_py.svg_to_bytes(svg_string=svg, width=SIDE_PX, height=SIDE_PX, skip_system_fonts=True)
    )
    image, vector = f"images/{source}/{key}.webp", f"svg/{source}/{key}.svg"
    for path in (image, vector):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
    Image.open(io.BytesIO(content)).convert("RGBA").save(folder / image, lossless=True)
    (folder / vector).write_text(svg, encoding="utf-8")
    person = thing == "astronaut"
    return Drawing(
        id=key,
        file_name=image,
        svg=vector,
        source=source,
        name=thing,
        tone=None,
        keywords=(),
        group="people-body" if person else "objects",
        subgroup="person-role" if person else "tool",
        hexcode=CODES[thing],
        concept=thing,
        styles=("cartoon emoji",) if source == "noto" else ("flat illustration",),
        colors=(),
        coverage=0.4,
        captions=(f"a {thing}",),
        licence="Apache-2.0" if source == "noto" else "MIT",
        attribution="Noto Emoji, Google" if source == "noto" else "Fluent Emoji, Microsoft",
        tier="A",
        weight=1.0,
        split="train",
    )
