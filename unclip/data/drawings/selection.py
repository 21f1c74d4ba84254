"""What of the drawings in the packages is taken into the set."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from unclip.data.drawings import fluent_3d, iconify, openclipart, openmoji, tuxpaint
from unclip.data.drawings.names import EmojiNames
from unclip.data.drawings.originals import Original
from unclip.data.drawings.sources import Source
from unclip.data.drawings.words import BRANDS, COLOURS

READERS = {
    "iconify": iconify.read,
    "openmoji": openmoji.read,
    "fluent_3d": fluent_3d.read,
    "openclipart": openclipart.read,
    "tuxpaint": tuxpaint.read,
}
FLAG = re.compile(r"flag[ :]+(?:for |of )?(?:flag )?(.+)$")
NO_BRANDS = {"animals-nature", "food-drink"}
"""Groups in which an apple is an apple."""


def select(source: Source, cache: Path, names: EmojiNames) -> dict[str, Original]:
    """Lists the drawings of a source that the set takes, by id; the same for the same packages.

    Of the skin tones of an emoji one is kept beside the neutral drawing: the others are near
    copies. Raises what the source's adapter raises.
    """
    chosen: dict[str, Original] = {}
    for original in _few_tones(list(READERS[source.layout](source, cache, names))):
        label = original.label.lower()
        if not label or original.group == "component":
            continue
        if BRANDS.search(label) and original.group not in NO_BRANDS:
            continue
        if source.one_ink and COLOURS & set(re.findall(r"[a-z]+", label)):
            continue
        key = re.sub(r"[^A-Za-z0-9-]+", "-", original.key)
        chosen.setdefault(f"{source.name}__{key}", _flag(original))
    return chosen


def _few_tones(originals: list[Original]) -> Iterator[Original]:
    """Keeps the neutral drawings and, of each emoji, the tone whose hash is smallest."""
    tones: dict[str | None, list[Original]] = defaultdict(list)
    for original in originals:
        if original.tone:
            tones[original.hexcode].append(original)
    kept = {id(min(group, key=_rank)) for group in tones.values()}
    return (original for original in originals if not original.tone or id(original) in kept)


def _rank(original: Original) -> str:
    text = original.source + original.key
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _flag(original: Original) -> Original:
    """Names flags alike, however their source does."""
    match = FLAG.match(original.label.lower())
    if match:
        return replace(original, label=f"flag: {match[1]}", group="flags")
    return original
