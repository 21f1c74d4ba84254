"""How many drawings each source must give, so that a silent change of a package is noticed.

What is chosen from a package depends on the package alone: tolerance zero. What of it can be drawn
and is no copy depends on the rasteriser, too: zero with the version that the table was made with,
1 % with another one.
"""

import importlib.metadata
import platform
from collections.abc import Collection, Mapping
from typing import NamedTuple

from unclip.errors import DataError


class Counts(NamedTuple):
    """Drawings of one source."""

    chosen: int
    """From the package."""
    kept: int
    """Of these, without what shows nothing and without copies."""


EXPECTED = {
    "noto": Counts(2003, 1994),
    "noto-v1": Counts(1452, 1403),
    "fluent-emoji": Counts(1896, 1896),
    "fluent-flat": Counts(1903, 1901),
    "fluent-hc": Counts(1515, 1508),
    "fluent-3d": Counts(2158, 2157),
    "fxemoji": Counts(491, 490),
    "meteocons": Counts(447, 297),
    "flat-color": Counts(35, 35),
    "circle-flags": Counts(283, 283),
    "twemoji": Counts(2258, 2224),
    "emojione": Counts(1510, 1504),
    "emojione-mono": Counts(1362, 1326),
    "streamline-emojis": Counts(787, 787),
    "freehand": Counts(179, 179),
    "ultimate": Counts(211, 211),
    "game-icons": Counts(4102, 4102),
    "openmoji": Counts(2707, 2664),
    "openmoji-black": Counts(2220, 1871),
    "emojione-v1": Counts(1262, 1262),
    "freehand-ink": Counts(179, 179),
    "kameleon": Counts(164, 164),
    "stickies": Counts(54, 54),
    "plump": Counts(230, 230),
    "pixel-art": Counts(198, 198),
    "icon-park": Counts(588, 588),
    "phosphor-line": Counts(300, 300),
    "phosphor-fill": Counts(300, 300),
    "openclipart": Counts(1563, 1278),
    "tuxpaint": Counts(657, 601),
}
RASTERISER = ("0.5.0", "x86_64")
"""The version of resvg_py, and the machine, that the table was made with."""
TOLERANCE = 0.01
"""Share of the kept that may differ with another rasteriser."""


def check_chosen(counts: Mapping[str, int], free: Collection[str]) -> None:
    """Compares what was chosen from the packages with the table.

    Args:
        free: sources whose package has another version than the pinned one.

    Raises:
        DataError: a source gave another number of drawings.
    """
    for source, count in counts.items():
        if source in EXPECTED and source not in free and count != EXPECTED[source].chosen:
            raise DataError(
                f"{source} has {count} drawings, expected {EXPECTED[source].chosen}: remove the "
                "folder of packages (--cache) and run again to fetch them anew"
            )


def check_kept(counts: Mapping[str, int], free: Collection[str]) -> None:
    """Compares what is in the set with the table.

    Raises:
        DataError: a source gave another number of drawings.
    """
    same = (importlib.metadata.version("resvg_py"), platform.machine()) == RASTERISER
    for source, count in counts.items():
        if source not in EXPECTED or source in free:
            continue
        expected = EXPECTED[source].kept
        allowed = 0 if same else max(1, round(TOLERANCE * expected))
        if abs(count - expected) > allowed:
            raise DataError(
                f"{source} gave {count} pictures, expected {expected}: install resvg_py=="
                f"{RASTERISER[0]}, or remove the folder of packages (--cache), and run again"
            )
