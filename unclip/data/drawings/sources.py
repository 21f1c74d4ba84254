"""A source of drawings: package, licence, author, tier and look."""

from dataclasses import dataclass
from typing import Literal

from unclip.data.drawings.packages import ICONIFY, NAMES, Package

Layout = Literal["iconify", "openmoji", "fluent_3d", "openclipart", "tuxpaint"]
"""How the package is read: the adapter module of that name."""

TIER_OF = {
    "Apache-2.0": "A",
    "MIT": "A",
    "CC-PDDC": "A",
    "CC-BY-3.0": "B",
    "CC-BY-4.0": "B",
    "CC-BY-SA-4.0": "C",
    "GPL-2.0-or-later": "C",
}
"""What may be done with drawings of a licence; `records.py` says what the tiers mean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One hand, one look."""

    name: str
    title: str
    author: str
    link: str
    """Where the work is at home."""
    licence: str
    """SPDX identifier."""
    styles: tuple[str, ...]
    """Phrases that are true of every drawing."""
    package: Package = ICONIFY
    layout: Layout = "iconify"
    part: str = ""
    """The set in @iconify/json, or the folder of the package."""
    things_only: bool = False
    """Interface icons: only those that are named after a thing are taken."""
    credits: str = ""
    """Whom its licence asks to name, beyond the author."""
    ending: str = ""
    """Only icons whose name ends so."""
    one_ink: bool = False
    """Black only: a name with a colour in it would be false."""

    @property
    def tier(self) -> str:
        """A, B or C, by the licence."""
        return TIER_OF[self.licence]

    @property
    def attribution(self) -> str:
        """Title and author, as each record carries them."""
        return f"{self.title}, {self.author}"

    @property
    def packages(self) -> tuple[Package, ...]:
        """All that must be fetched to build it."""
        return (*NAMES, self.package)
