"""What an adapter finds in a package: a drawing as its author made and named it."""

from dataclasses import dataclass
from pathlib import Path


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
