"""Icon sets of the npm package @iconify/json: one JSON file a set, SVG bodies inside."""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unclip.data.drawings.files import damaged, read_json
from unclip.data.drawings.names import Emoji, EmojiNames
from unclip.data.drawings.originals import Original, of_emoji
from unclip.data.drawings.packages import ICONIFY
from unclip.data.drawings.sources import Source
from unclip.data.drawings.svg import Box, square
from unclip.data.drawings.words import INTERFACE, VARIANTS, plain_words

DEFAULT_SIZE = 16
"""Of an icon whose set does not say."""
CODES_OF = {"fluent-emoji": "fluent-emoji-flat"}
"""Sets that do not say which emoji their icons are, and the set of equal names that does."""
GLUED = {"fxemoji"}
"""Sets whose names lack spaces; what cannot be told apart is left out."""
FLAGS = {"circle-flags"}
"""Sets of flags that are named by the codes of countries (`fr`) and of their parts (`fr-bre`)."""
REGION = re.compile(r"[a-z]{2}(-.+)?")
REGIONAL_A = 0x1F1E6
"""The code point of the regional indicator A, two of which are a flag."""


def read(source: Source, cache: Path, names: EmojiNames) -> Iterator[Original]:
    """Lists the drawings of a set.

    Raises:
        DataError: the set is missing, damaged, or of another licence than the table says.
    """
    path = _path(cache, source.part)
    icons = read_json(path, remedy=ICONIFY.root(cache))
    try:
        spdx = icons["info"]["license"]["spdx"]
        if spdx != source.licence:
            raise damaged(
                path, f"has the licence {spdx}, not {source.licence}", ICONIFY.root(cache)
            )
        codes = _codes(icons, source, cache)
        categories = _categories(icons)
        for key, icon in icons["icons"].items():
            if icon.get("hidden") or not key.endswith(source.ending):
                continue
            svg = _svg(icons, icon)
            if source.things_only:
                found = _thing(source, key, svg, names)
            else:
                found = _emoji(source, key, svg, names, codes.get(key), categories.get(key, []))
            if found is not None:
                yield found
    except (KeyError, TypeError, AttributeError) as error:
        what = f"is not as expected ({error!r})"
        raise damaged(path, what, ICONIFY.root(cache)) from error


def _path(cache: Path, part: str) -> Path:
    return ICONIFY.folder(cache) / "json" / f"{part}.json"


def _codes(icons: dict[str, Any], source: Source, cache: Path) -> dict[str, str]:
    """The code points of each icon that is an emoji."""
    by_code = icons.get("chars")
    if not by_code and source.part in CODES_OF:
        other = read_json(_path(cache, CODES_OF[source.part]), remedy=ICONIFY.root(cache))
        by_code = other["chars"]
    codes: dict[str, str] = {}
    for code, key in (by_code or {}).items():
        codes.setdefault(key, code)
    return codes


def _categories(icons: dict[str, Any]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for category, keys in (icons.get("categories") or {}).items():
        for key in keys:
            found[key].append(category.lower())
    return found


def _svg(icons: dict[str, Any], icon: dict[str, Any]) -> str:
    box = Box(
        icon.get("left", 0),
        icon.get("top", 0),
        icon.get("width", icons.get("width", DEFAULT_SIZE)),
        icon.get("height", icons.get("height", DEFAULT_SIZE)),
    )
    return square(icon["body"], box)


def _thing(source: Source, key: str, svg: str, names: EmojiNames) -> Original | None:
    """An interface icon, if it shows a thing."""
    label = names.thing(key)
    if label is None:
        return None
    emoji = names.by_name(label)
    words = [
        word
        for word in plain_words(key).split()
        if word not in label and word not in INTERFACE | VARIANTS and not word.isdigit()
    ]
    words += emoji.keywords[:3] if emoji else ()
    return Original(
        source=source.name,
        key=key,
        label=label,
        keywords=tuple(dict.fromkeys(words)),
        group=emoji.group if emoji and emoji.group != "symbols" else "icon",
        subgroup=emoji.subgroup if emoji else "",
        hexcode=emoji.hexcode if emoji else None,
        tone=None,
        styles=source.styles,
        svg=svg,
    )


def _emoji(
    source: Source,
    key: str,
    svg: str,
    names: EmojiNames,
    code: str | None,
    categories: list[str],
) -> Original | None:
    """An emoji, or an icon of an emoji-like set that is called as its file is."""
    emoji = names.by_hexcode(code) if code else None
    if emoji is None and source.part in GLUED:
        emoji = names.by_glued_name(key)
    elif source.part in FLAGS:
        emoji = _flag(key, names)
    elif emoji is None:
        emoji = names.by_file_name(key) or _unknown(key, categories)
    if emoji is None:
        return None
    return of_emoji(source, key, emoji, svg=svg)


def _unknown(key: str, categories: list[str]) -> Emoji:
    name = re.sub(r" (\d+)$", "", plain_words(key))
    name = " ".join(re.sub(r"\b(fill|bold|static)\b", "", name).split())
    keywords = tuple(categories[:2])
    return Emoji(label=name, keywords=keywords, group="icon", subgroup="", hexcode="")


def _flag(key: str, names: EmojiNames) -> Emoji | None:
    """A flag with a name that people know; None for the codes of parts of countries."""
    if REGION.fullmatch(key):
        if "-" in key:
            return None
        return names.by_hexcode("-".join(f"{REGIONAL_A + ord(c) - ord('a'):X}" for c in key))
    name = f"{plain_words(key)} flag"
    return Emoji(label=name, keywords=(), group="flags", subgroup="", hexcode="")
