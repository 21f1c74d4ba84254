"""One drawing of the captioned set, and the set's table on disk, `metadata.jsonl`.

The table is written last: a folder without it is unfinished.
"""

import dataclasses
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from unclip.errors import DataError

TABLE = "metadata.jsonl"

Tier = Literal["A", "B", "C"]
"""A: permissive; B: attribution; C: share-alike or copyleft."""
Split = Literal["train", "test", "val"]
"""test: its concept is held out in every style; val: the concept is known, this drawing is not."""
TIERS: tuple[str, ...] = get_args(Tier)
SPLITS: tuple[str, ...] = get_args(Split)
SHIPPED_TIERS = "AB"
"""What the weights that ship are trained on, and nothing else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A picture of the set and all that is known about it."""

    id: str
    """`SOURCE__KEY`; unique in the set."""
    file_name: str
    """`images/SOURCE/ID.webp`: 256 px, see-through where nothing is drawn; a picture that fills its
    square has no alpha channel, so convert it to RGBA."""
    svg: str | None
    """`svg/SOURCE/ID.svg`: the same picture as a square vector drawing; None for bitmaps."""
    source: str
    name: str
    """What it shows, without article and style: `person riding a bicycle`."""
    tone: tuple[str, ...] | None
    """Skin tones of the people in it, light to dark."""
    keywords: tuple[str, ...]
    group: str
    subgroup: str
    hexcode: str | None
    """The emoji without skin tones and U+FE0F; None if it is no emoji."""
    concept: str
    """Equal for all drawings of one thing; what the `test` split holds out."""
    styles: tuple[str, ...]
    """Phrases that name the look."""
    colors: tuple[tuple[str, float], ...]
    """Up to three main colours with their shares of what is drawn, largest first."""
    coverage: float
    """Share of the square that is drawn."""
    captions: tuple[str, ...]
    licence: str
    """SPDX identifier."""
    attribution: str
    tier: str
    weight: float
    """How often to draw it, relative to 1."""
    split: str


def read_set(
    folder: Path, *, tiers: str = SHIPPED_TIERS, splits: Collection[str] = ("train",)
) -> list[Drawing]:
    """Reads the drawings of a set, in its order.

    Raises:
        DataError: the folder is no finished set, its table is damaged, a tier or split is unknown,
            or nothing is left.
    """
    unknown = sorted({*tiers} - {*TIERS}) + sorted({*splits} - {*SPLITS})
    if unknown:
        raise DataError(
            f"there is no tier or split {unknown[0]!r}: tiers are {', '.join(TIERS)}, "
            f"splits {', '.join(SPLITS)}"
        )
    chosen = [d for d in read_table(folder) if d.tier in tiers and d.split in splits]
    if not chosen:
        raise DataError(
            f"{folder} has no drawings of tiers {tiers} in {', '.join(splits)}: build them with "
            f"unclip data illustrations --tiers {tiers}"
        )
    return chosen


def read_table(folder: Path) -> list[Drawing]:
    """Reads all drawings of a set, in its order.

    Raises:
        DataError: the folder is no finished set, or its table is damaged.
    """
    path = folder / TABLE
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} is no finished set of drawings ({TABLE} is missing): run "
            f"unclip data illustrations --out {folder}"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    return [_drawing(line, f"{path} line {number}") for number, line in enumerate(lines, 1) if line]


def table_text(drawings: Iterable[Drawing]) -> str:
    """Writes the table as text, one JSON object a line."""
    rows = (dataclasses.asdict(drawing) for drawing in drawings)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


_FIELDS = frozenset(field.name for field in dataclasses.fields(Drawing))
_LISTS = ("tone", "keywords", "styles", "captions")


def _drawing(line: str, where: str) -> Drawing:
    try:
        row: dict[str, Any] = json.loads(line)
        if row.keys() != _FIELDS:
            wrong = ", ".join(sorted(row.keys() ^ _FIELDS))
            raise DataError(f"{where} is no drawing of this version: {wrong}; build the set anew")
        row |= {key: tuple(row[key]) for key in _LISTS if row[key] is not None}
        row["colors"] = tuple((str(name), float(share)) for name, share in row["colors"])
        row |= {"coverage": float(row["coverage"]), "weight": float(row["weight"])}
        return Drawing(**row)
    except (ValueError, TypeError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where} is damaged ({error}): build the set anew") from error
