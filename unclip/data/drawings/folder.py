"""The folder of a set: what may be in it, how its files are called, and no leftovers."""

from collections.abc import Collection
from pathlib import Path

from unclip.data.drawings.files import unwritable
from unclip.data.drawings.journal import JOURNAL
from unclip.data.drawings.records import TABLE, Drawing, read_table
from unclip.errors import InputError

IMAGES, VECTORS = "images", "svg"
LICENCES = "THIRD_PARTY_DATA.md"
OURS = {IMAGES, VECTORS, TABLE, LICENCES, JOURNAL}


def check_target(out: Path, sources: Collection[str], *, replace: bool) -> None:
    """Checks that a set of some sources may be built in a folder.

    Args:
        replace: drawings of other sources may be removed.

    Raises:
        InputError: it is no folder, holds other things, or a set with more sources.
        DataError: its table is damaged.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        there = {path.name for path in out.iterdir()}
    except OSError as error:
        raise unwritable(out, error) from error
    others = sorted(name for name in there - OURS if not name.endswith(".tmp"))
    if others:
        raise InputError(f"{out} holds other things ({others[0]}): name a new folder as --out")
    if TABLE in there and not replace:
        more = sorted({drawing.source for drawing in read_table(out)} - set(sources))
        if more:
            raise InputError(
                f"{out} is a set that also has {', '.join(more)}: name another folder, or pass "
                "--force to replace it"
            )


def image_name(source: str, drawing: str) -> str:
    """The name of a picture in the folder."""
    return f"{IMAGES}/{source}/{drawing}.webp"


def svg_name(source: str, drawing: str) -> str:
    """The name of a vector drawing in the folder."""
    return f"{VECTORS}/{source}/{drawing}.svg"


def remove_leftovers(out: Path, drawings: Collection[Drawing]) -> int:
    """Removes pictures that the table does not name, and what a killed run left; counts them."""
    named = {drawing.file_name for drawing in drawings}
    named |= {drawing.svg for drawing in drawings if drawing.svg}
    removed = 0
    for path in out.glob(".*.tmp"):
        path.unlink(missing_ok=True)
    for top in (IMAGES, VECTORS):
        for path in (out / top).glob("*/*"):
            if str(path.relative_to(out).as_posix()) not in named:
                path.unlink(missing_ok=True)
                removed += 1
        for folder in (out / top).glob("*"):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
    return removed
