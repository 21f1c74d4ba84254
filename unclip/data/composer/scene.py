"""What a scene shows: everything about it is decided here, and nothing is painted."""

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["single", "scenery", "pair", "above", "row", "count", "size", "ride", "wear"]
KINDS: tuple[Kind, ...] = get_args(Kind)

MAX_THINGS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Thing:
    """One thing in a scene."""

    drawing: int
    """Place in the catalogue."""
    noun: str
    """What captions call it; compositions are held out by it."""
    colour: str | None = None
    """What it was recoloured to; None is as drawn."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where a sprite's square is drawn; over the picture's side."""

    x: float
    y: float
    """Of the centre."""
    side: float
    mirrored: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A scene; things and placements belong together, the first is drawn first."""

    kind: Kind
    source: str
    """All drawings are of it, so that the style is that of the whole picture."""
    style: str
    """How captions name the look: the filter's name, or one of the source's."""
    filter: str | None
    things: tuple[Thing, ...]
    """In the order of the caption: left, right; upper, lower; big, small; rider, mount; face,
    hat."""
    placements: tuple[Placement, ...]
    backdrop: str
    """A name of `backdrops.BACKDROPS`."""
    noise_seed: int
