"""A small set of drawings in the built set's layout, of the repository's own illustrations."""

import io
from pathlib import Path

import resvg_py
from PIL import Image

from unclip.data.drawings.records import TABLE, Drawing, table_text
from unclip.data.illustrations import FOLDER, index

SOURCES = {"noto": "noto", "fluent-flat": "fluent-emoji-flat"}
MOUNTS = {"horse": "1F40E", "elephant": "1F418", "camel": "1F42A", "turtle": "1F422"}
RIDERS = ("astronaut", "robot")
SPECIAL = {"cat": "1F431", "dog": "1F436", "penguin": "1F427"} | MOUNTS
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
    rider = thing in RIDERS
    hat = thing in ("crown", "top hat")
    return Drawing(
        id=key,
        file_name=image,
        svg=vector,
        source=source,
        name=f"{thing} face" if thing in ("cat", "dog") else thing,
        tone=None,
        keywords=(),
        group="people-body" if rider else "objects",
        subgroup="person-role" if rider else "animal-mammal" if thing in SPECIAL else "tool",
        hexcode="1F451" if hat else SPECIAL.get(thing, f"X{thing}"),
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
