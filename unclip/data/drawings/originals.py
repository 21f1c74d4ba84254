"""What an adapter finds in a package: a drawing as its author made and named it."""

from dataclasses import dataclass
from pathlib import Path

from unclip.data.drawings.names import Emoji
from unclip.data.drawings.sources import Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Original:
    """A drawing before it is rendered and captioned: either `svg` or `bitmap` is set."""

    source: str
    key: str
    """Its name within the source."""
    label: str
    """What the package, or the Unicode CLDR, calls it."""
    keywords: tuple[str, ...]
    group: str
    subgroup: str
    hexcode: str | None
    tone: tuple[str, ...] | None
    styles: tuple[str, ...]
    author: str | None = None
    """Its own, where the source has many; the source's if None."""
    svg: str | None = None
    bitmap: Path | None = None
    trim: bool = False
    """Whether the margin is cut so that all drawings of the source are about equally large."""


def of_emoji(
    source: Source, key: str, emoji: Emoji, *, svg: str | None = None, bitmap: Path | None = None
) -> Original:
    """A source's drawing of an emoji, called as Unicode calls it."""
    return Original(
        source=source.name,
        key=key,
        label=emoji.label,
        keywords=emoji.keywords,
        group=emoji.group,
        subgroup=emoji.subgroup,
        hexcode=emoji.hexcode or None,
        tone=emoji.tone,
        styles=source.styles,
        svg=svg,
        bitmap=bitmap,
    )
