"""The npm package openmoji: one SVG file an emoji, in colour and in black."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from unclip.data.drawings.files import damaged, folder_of, read_json
from unclip.data.drawings.names import Emoji, EmojiNames
from unclip.data.drawings.originals import Original, of_emoji
from unclip.data.drawings.packages import OPENMOJI
from unclip.data.drawings.sources import Source


def read(source: Source, cache: Path, names: EmojiNames) -> Iterator[Original]:
    """Lists the drawings of one of its folders.

    Raises:
        DataError: the package is incomplete or damaged.
    """
    root, remedy = OPENMOJI.folder(cache), OPENMOJI.root(cache)
    path = root / "data" / "openmoji.json"
    folder = folder_of(root / source.part / "svg", remedy=remedy)
    try:
        for entry in read_json(path, remedy=remedy):
            file = folder / f"{entry['hexcode']}.svg"
            # Skin tones cannot be seen in line art.
            unseen = source.one_ink and entry.get("skintone")
            if entry["subgroups"] == "brand" or unseen or not file.is_file():
                continue
            emoji = _emoji(entry, names)
            yield of_emoji(
                source,
                entry["hexcode"],
                emoji,
                svg=file.read_text(encoding="utf-8", errors="replace"),
            )
    except (KeyError, TypeError, AttributeError) as error:
        raise damaged(path, f"is not as expected ({error!r})", remedy) from error


def _emoji(entry: dict[str, Any], names: EmojiNames) -> Emoji:
    """What Unicode says of it, or OpenMoji where it is an emoji of its own."""
    own = _split(entry["openmoji_tags"])
    emoji = names.by_hexcode(entry["hexcode"])
    if emoji is not None:
        return replace(emoji, keywords=tuple(dict.fromkeys([*emoji.keywords, *own])))
    return Emoji(
        label=entry["annotation"],
        keywords=tuple(_split(entry["tags"]) + own),
        group="icon",
        subgroup=entry["subgroups"],
        hexcode="",
    )


def _split(tags: str) -> list[str]:
    return [tag.strip() for tag in tags.split(",") if tag.strip()]
