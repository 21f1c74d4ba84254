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


EXPECTED: dict[str, Counts] = {}
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
                f"{source} gave {count} pictures, expected {expected}: install "
                f"resvg_py=={RASTERISER[0]}, or report it"
            )
