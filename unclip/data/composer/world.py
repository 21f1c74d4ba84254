"""The world of scenes: endless, seeded, indexable. `describe(index)` is a pure function."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from unclip.config import INF, check_ranges
from unclip.data.composer.backdrops import NAMES as BACKDROPS
from unclip.data.composer.backdrops import PLAIN, SCENERIES
from unclip.data.composer.catalogue import BLACK, Catalogue, Role
from unclip.data.composer.colours import COLOURS
from unclip.data.composer.heldout import Pair, is_held_out
from unclip.data.composer.layout import COUNTED, Layout, Shape
from unclip.data.composer.scene import KINDS, Kind, Placement, Scene, Thing
from unclip.data.composer.sprites import Sprites
from unclip.data.composer.styles import FILTERS, GREY, ON_WHITE
from unclip.errors import ConfigError, DataError

BLEND_SHARE = 0.3
"""A backdrop is left out where more of a thing than this would blend into it."""
MAIN_SHARE = 0.5
"""Share of a drawing that its main hue covers, from which it can be recoloured."""
COUNT_SHARES = (0.3, 0.3, 0.2, 0.1, 0.1)
"""Of two, three, ... six things."""
TRIES = 400
"""Of which one in ten has a pair that is held out."""
COLOUR_WORDS = frozenset(COLOURS) | {"black", "white", "gray", "grey", "golden"}


@dataclass(frozen=True, kw_only=True, slots=True)
class KindShares:
    """How often each kind of scene comes, relative to the others."""

    single: float = 30.0
    scenery: float = 10.0
    pair: float = 14.0
    above: float = 6.0
    row: float = 4.0
    count: float = 10.0
    size: float = 6.0
    ride: float = 16.0
    wear: float = 4.0

    def __post_init__(self) -> None:
        check_ranges(self, "kinds.", **dict.fromkeys(KINDS, (0, INF)))
        if not sum(self.values()):
            raise ConfigError("kinds are all 0: give at least one kind of scene a share")

    def values(self) -> list[float]:
        """The shares in the order of `KINDS`."""
        return [float(getattr(self, kind)) for kind in KINDS]


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldSettings:
    """What the world holds, and how it is laid out."""

    sources: tuple[str, ...] = ()
    """Whose drawings; none are all that draw nearly every emoji."""
    nouns: tuple[str, ...] = ()
    """Of what is shown (`nouns.py`), a bounded world for small machines; none are all."""
    kinds: KindShares = field(default_factory=KindShares)
    filters: tuple[str, ...] = tuple(FILTERS)
    filter_share: float = 0.4
    """Of scenes that are redrawn by a filter."""
    backdrop_share: float = 0.5
    """Of scenes on a coloured backdrop, where one is possible."""
    colour_share: float = 0.5
    """Of things that are recoloured, where the drawing allows it."""
    jitter: float = 0.02
    """How far a thing may lie from its place, over the picture's side."""
    mirror_share: float = 0.0
    """Of scenes that are mirrored, where left and right say nothing."""

    def __post_init__(self) -> None:
        shares = dict.fromkeys(("filter_share", "backdrop_share", "colour_share"), (0, 1))
        check_ranges(self, "world.", **shares, mirror_share=(0, 1), jitter=(0, 0.2))
        for name in self.filters:
            if name not in FILTERS:
                raise ConfigError(f"world.filters names {name!r}: choose of {', '.join(FILTERS)}")
        if self.filter_share and not self.filters:
            raise ConfigError("world.filter_share is above 0, but there are no world.filters")


class World:
    """Scenes by index, as a pure function of (catalogue, sprites' shapes, settings, seed)."""

    def __init__(
        self,
        catalogue: Catalogue,
        sprites: Sprites,
        settings: WorldSettings,
        seed: int = 0,
        *,
        heldout: bool = False,
    ) -> None:
        """Takes what the scenes are made of.

        Args:
            heldout: only scenes with a pair that is held out, instead of none with one.
        """
        self.catalogue, self.settings, self.seed, self.heldout = catalogue, settings, seed, heldout
        self.shares = np.array(settings.kinds.values()) / sum(settings.kinds.values())
        self.extent, self.seat = sprites.extent.tolist(), sprites.seat.tolist()
        self.main_share, self.blend = sprites.main_share.tolist(), sprites.blend.tolist()

    def describe(self, index: int) -> Scene:
        """Decides a scene.

        Raises:
            DataError: the drawings allow none that is (not) held out.
        """
        for attempt in range(TRIES):
            rng = np.random.default_rng([self.seed, self.heldout, index, attempt])
            try:
                scene = _Draft(self, rng).scene()
            except _Unfit:
                continue
            if any(map(is_held_out, pairs(scene))) == self.heldout:
                return scene
        raise DataError(f"no scene could be made in {TRIES} tries: the set has too few drawings")


def pairs(scene: Scene) -> list[Pair]:
    """The compositions of a scene that may be held out."""
    found = [Pair("colour", t.colour, t.noun) for t in scene.things if t.colour]
    nouns = [thing.noun for thing in scene.things]
    if scene.kind == "ride":
        found.append(Pair("ride", *nouns))
    if scene.kind in ("pair", "row"):
        found += [Pair("side", left, right) for left, right in pairwise(nouns)]
    return found


class _Unfit(Exception):
    """The source lacks what this kind of scene takes."""


class _Draft:
    """One try at a scene."""

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        self.world, self.rng, self.settings = world, rng, world.settings
        sources = world.catalogue.sources
        self.source = sources[rng.integers(len(sources))]
        self.roles = world.catalogue.by_role[self.source]
        self.black = self.source in BLACK
        self.filter = self._filter()
        self.layout = Layout(rng, world.settings.jitter)

    def scene(self) -> Scene:
        """Makes the scene, or raises `_Unfit`."""
        kind: Kind = KINDS[self.rng.choice(len(KINDS), p=self.world.shares)]
        things, places = self._arrange(kind)
        backdrop = self._backdrop(kind, things)
        styles = self.world.catalogue.entries[things[0].drawing].drawing.styles
        style = self.filter or styles[self.rng.integers(len(styles))]
        if kind not in ("pair", "row") and self.rng.random() < self.settings.mirror_share:
            places = tuple(_mirror(place) for place in places)
        return Scene(
            kind=kind,
            source=self.source,
            style=style,
            filter=self.filter,
            things=things,
            placements=places,
            backdrop=backdrop,
            noise_seed=int(self.rng.integers(2**31)),
        )

    def _arrange(self, kind: Kind) -> tuple[tuple[Thing, ...], tuple[Placement, ...]]:
        """Chooses the things of a scene, and where they stand."""
        layout = self.layout
        match kind:
            case "single":
                role: Role = "thing" if self.rng.random() < 0.75 else "rider"
                return self._pick(role), layout.alone()
            case "scenery":
                return self._pick("thing", "rider"), layout.in_scenery()
            case "pair":
                return self._pick("thing", "rider", count=2), layout.beside()
            case "above":
                return self._pick("thing", count=2), layout.above()
            case "row":
                return self._pick("thing", count=3), layout.row()
            case "size":
                return self._countable(self._pick("thing", count=2)), layout.big_and_small()
            case "count":
                count = int(self.rng.choice(list(COUNTED), p=COUNT_SHARES))
                return self._countable(self._pick("thing")) * count, layout.counted(count)
            case "ride":
                things = (*self._pick("rider", plain=True), *self._pick("mount", plain=True))
                if things[0].noun == things[1].noun:
                    raise _Unfit
                return things, layout.riding(*map(self._shape, things))
            case "wear":
                things = (*self._pick("face", plain=True), *self._pick("hat", plain=True))
                return things, layout.wearing(*map(self._shape, things))

    def _filter(self) -> str | None:
        if self.black or self.rng.random() >= self.settings.filter_share:
            return None
        return self.settings.filters[self.rng.integers(len(self.settings.filters))]

    def _backdrop(self, kind: Kind, things: Sequence[Thing]) -> str:
        only_white = self.black or self.filter in ON_WHITE
        if kind == "scenery":
            if only_white:
                raise _Unfit
            choice = list(SCENERIES)
        elif only_white or self.rng.random() >= self.settings.backdrop_share:
            return "white"
        else:
            choice = list(PLAIN)
        free = [name for name in choice if all(self._stands_out(t, name) for t in things)]
        if not free:
            if kind == "scenery":
                raise _Unfit
            return "white"
        return free[self.rng.integers(len(free))]

    def _stands_out(self, thing: Thing, backdrop: str) -> bool:
        if thing.colour is not None:
            return backdrop != thing.colour
        return self.world.blend[thing.drawing][BACKDROPS.index(backdrop)] <= BLEND_SHARE

    def _pick(self, *roles: Role, count: int = 1, plain: bool = False) -> tuple[Thing, ...]:
        """Different drawings of the source that have one of the roles."""
        pool = sorted({number for role in roles for number in self.roles[role]})
        if len(pool) < count:
            raise _Unfit
        chosen = self.rng.choice(len(pool), count, replace=False)
        return tuple(self._thing(pool[number], plain=plain) for number in chosen)

    def _thing(self, number: int, *, plain: bool) -> Thing:
        entry = self.world.catalogue.entries[number]
        coloured = bool(COLOUR_WORDS & set(entry.noun.split()))
        if coloured and (self.black or self.filter in GREY):
            raise _Unfit  # a blue book that is grey
        free = not plain and not self.black and self.filter not in GREY and "thing" in entry.roles
        free = free and self.world.main_share[number] >= MAIN_SHARE
        free = free and not coloured
        colour = None
        if free and self.rng.random() < self.settings.colour_share:
            colour = list(COLOURS)[self.rng.integers(len(COLOURS))]
        return Thing(drawing=number, noun=entry.noun, colour=colour)

    def _countable(self, things: tuple[Thing, ...]) -> tuple[Thing, ...]:
        """Passes on things that have a plural."""
        if not all(self.world.catalogue.entries[thing.drawing].countable for thing in things):
            raise _Unfit
        return things

    def _shape(self, thing: Thing) -> Shape:
        return Shape(self.world.extent[thing.drawing], self.world.seat[thing.drawing])


def _mirror(place: Placement) -> Placement:
    return Placement(x=1 - place.x, y=place.y, side=place.side, mirrored=not place.mirrored)
