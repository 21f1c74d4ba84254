"""The Debian package tuxpaint-stamps-default: cut-out photos and cartoons with a sentence each."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from unclip.data.drawings.files import folder_of
from unclip.data.drawings.names import EmojiNames
from unclip.data.drawings.originals import Original
from unclip.data.drawings.packages import TUXPAINT
from unclip.data.drawings.sources import Source
from unclip.data.pictures import DAMAGE

SIGNS = re.compile(r"(symbols|town/roadsigns)")
CARTOON_STYLES = ("cartoon clip art", "cartoon drawing")
FLAT_SHARE = 0.22
"""Share of pixels equal to their neighbour from which a picture is a cartoon, not a photo."""


def read(source: Source, cache: Path, _: EmojiNames) -> Iterator[Original]:
    """Lists the stamps.

    Raises:
        DataError: the package is incomplete.
    """
    remedy = TUXPAINT.folder(cache)
    root = folder_of(remedy / source.part, remedy=remedy)
    for name in sorted(str(path.relative_to(root)) for path in root.rglob("*.*")):
        path = root / name
        sentence = path.with_suffix(".txt")
        if path.suffix not in (".png", ".svg") or SIGNS.match(name) or not sentence.is_file():
            continue
        lines = sentence.read_text(encoding="utf-8", errors="replace").splitlines()
        label = re.sub(r"^(an?|the) ", "", lines[0].strip().rstrip(".!").lower() if lines else "")
        if 2 < len(label) < 80:
            yield _original(source, root, path, label)


def _original(source: Source, root: Path, path: Path, label: str) -> Original:
    name = path.relative_to(root)
    vector = path.suffix == ".svg"
    photo = not vector and "cartoon" not in str(name) and not _is_flat(path)
    return Original(
        source=source.name,
        key=re.sub(r"\W+", "-", str(name.with_suffix("")))[-60:],
        label=label,
        keywords=tuple(part for part in name.parent.parts if part != "cartoon"),
        group="photo" if photo else "clipart",
        subgroup=name.parts[0],
        hexcode=None,
        tone=None,
        styles=source.styles if photo else CARTOON_STYLES,
        svg=path.read_text(encoding="utf-8", errors="replace") if vector else None,
        bitmap=None if vector else path,
        trim=True,
    )


def _is_flat(path: Path) -> bool:
    """Whether a bitmap has areas of one colour, which photos have not."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            pixels = np.asarray(image.convert("RGBA")).astype(np.int16)
    except DAMAGE:
        return True  # told when it is rendered
    drawn = (pixels[:, 1:, 3] > 200) & (pixels[:, :-1, 3] > 200)
    steps = np.abs(np.diff(pixels[..., :3], axis=1)).sum(-1)
    return not drawn.any() or float((steps == 0)[drawn].mean()) >= FLAT_SHARE
