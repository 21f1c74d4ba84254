"""Composed scenes of the built set as cases: seen and held-out compositions, and pixel checks.

Every group is a world of its own settings and seed, of which the scenes that state what the group
is about are taken in order. No training run uses these seeds.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unclip.data.composer.backdrops import PLAIN, SCENERIES
from unclip.data.composer.captions import article, captions
from unclip.data.composer.catalogue import BLACK, Catalogue
from unclip.data.composer.heldout import ALWAYS
from unclip.data.composer.painter import Painter
from unclip.data.composer.scene import KINDS, Scene, Thing
from unclip.data.composer.sprites import Sprites, load_sprites
from unclip.data.composer.styles import GREY
from unclip.data.composer.world import KindShares, World, WorldSettings
from unclip.data.drawings.records import Drawing, read_set
from unclip.evaluation.drawn import in_fixed_order
from unclip.evaluation.facts import ASTRONAUT_PROMPT, Facts, Shown
from unclip.evaluation.suite import TAKES, Case, Group

SUITE_SEED = 700_001
"""Of the suite's scenes."""
COLOURLESS = ("pencil drawing", "black and white line drawing", "black and white picture")
"""Filters that leave no colour at all."""
COUNTED = (2, 3, 4)
PLAY = 0.02
PAINTED = 64
"""Scenes painted at a time."""
MAX_TRIES = 100_000
"""Scenes that are looked at before a group is given up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Where the scenes of a group come from."""

    settings: WorldSettings = field(default_factory=WorldSettings)
    heldout: bool = False
    wanted: Callable[[Scene], bool] = lambda scene: True


def only(**shares: float) -> KindShares:
    """Shares of these kinds, none of all others."""
    return KindShares(**(dict.fromkeys(KINDS, 0.0) | shares))


def _is_plain(scene: Scene) -> bool:
    return scene.filter is None and scene.source not in BLACK


RECIPES: dict[Group, Recipe] = {
    "seen": Recipe(),
    "heldout_compositions": Recipe(heldout=True),
    "colour": Recipe(
        settings=WorldSettings(kinds=only(single=1.0), colour_share=1.0, filter_share=0.0),
        wanted=lambda scene: scene.things[0].colour is not None,
    ),
    "grey": Recipe(
        settings=WorldSettings(
            kinds=only(single=3.0, ride=1.0),
            filters=COLOURLESS,
            filter_share=1.0,
            backdrop_share=0.0,
        ),
        wanted=lambda scene: scene.filter in COLOURLESS,
    ),
    "count": Recipe(
        settings=WorldSettings(kinds=only(count=1.0), filter_share=0.0, backdrop_share=0.0),
        wanted=lambda scene: _is_plain(scene) and len(scene.things) in COUNTED,
    ),
    "sides": Recipe(
        settings=WorldSettings(kinds=only(pair=1.0), filter_share=0.0, backdrop_share=0.0),
        wanted=_is_plain,
    ),
    "astronaut": Recipe(
        settings=WorldSettings(kinds=only(ride=1.0), filters=COLOURLESS[:1], filter_share=1.0),
        heldout=True,
        wanted=lambda scene: (
            scene.filter is not None
            and tuple(thing.noun for thing in scene.things) == next(iter(ALWAYS))[1:]
        ),
    ),
}


class ComposedScenes:
    """Scenes of the drawings that models are trained on, tiers A and B."""

    def __init__(self, folder: Path) -> None:
        """Reads the set and its sprites, which are packed beside it the first time.

        Raises:
            DataError: there is no finished set in `folder`, or a drawing is damaged.
            ConfigError: the set has too few drawings for scenes.
        """
        self.catalogue = Catalogue(read_set(folder))
        self.sprites: Sprites = load_sprites(folder, self.catalogue)

    def cases(self, group: Group, count: int) -> list[Case]:
        """Returns the first cases of a group; fewer where the set has no more."""
        if group == "diversity":
            return self._most_drawn(count)
        if group == "things":
            return self._single_things(count)
        cases = [case_of(scene) for scene in islice(self.scenes(RECIPES[group]), count)]
        if group == "astronaut":
            return [replace(case, prompt=ASTRONAUT_PROMPT) for case in cases]
        if group == "sides":
            return [replace(case, prompt=_sided(case, i)) for i, case in enumerate(cases)]
        return cases

    def scenes(self, recipe: Recipe, seed: int = SUITE_SEED) -> Iterator[Scene]:
        """Yields the scenes of a recipe in order."""
        world = World(self.catalogue, self.sprites, recipe.settings, seed, heldout=recipe.heldout)
        return filter(recipe.wanted, map(world.describe, range(MAX_TRIES)))

    def truth(
        self, cases: Sequence[Case], size_px: int, take: int = 0
    ) -> Float[Tensor, "batch 3 size size"]:
        """Paints the scene of each case; another take moves its things a little."""
        scenes = [_moved(case.key, take) for case in cases]
        return self.paint(scenes, size_px)

    def paint(self, scenes: Sequence[Scene], size_px: int) -> Float[Tensor, "batch 3 size size"]:
        """Paints scenes."""
        painter = Painter(self.sprites, size_px)
        starts = range(0, len(scenes), PAINTED)
        return torch.cat([painter.paint(scenes[i : i + PAINTED]) for i in starts])

    def _things(self) -> dict[str, list[Drawing]]:
        """All drawings of whatever can stand alone, by its name."""
        drawn: dict[str, list[Drawing]] = defaultdict(list)
        for entry in self.catalogue.entries:
            if "thing" in entry.roles:
                drawn[entry.noun].append(entry.drawing)
        return drawn

    def _most_drawn(self, count: int) -> list[Case]:
        """Cases that say no more than what they show, of what many sources draw."""
        drawn = self._things()
        nouns = sorted(drawn, key=lambda noun: (-len(drawn[noun]), noun))[:count]
        return [_bare(noun, tuple(drawn[noun])) for noun in nouns if len(drawn[noun]) >= TAKES]

    def _single_things(self, count: int) -> list[Case]:
        """Cases of as many names as many sources draw; the true picture is any coloured one."""
        found = {
            noun: tuple(in_fixed_order([d for d in drawings if d.source not in BLACK]))
            for noun, drawings in self._things().items()
        }
        nouns = sorted(noun for noun, drawings in found.items() if len(drawings) >= TAKES)
        np.random.default_rng(SUITE_SEED).shuffle(nouns)
        return [_bare(noun, found[noun]) for noun in nouns[:count]]


def _bare(noun: str, drawings: tuple[Drawing, ...]) -> Case:
    facts = Facts(kind="single", things=(Shown(noun=noun),))
    return Case(prompt=article(noun), facts=facts, key=drawings)


def case_of(scene: Scene) -> Case:
    """Says what a scene shows as a case, in its first caption's words."""
    grey = scene.filter in GREY or scene.source in BLACK
    things = tuple(_shown(thing, grey) for thing in scene.things)
    is_count = scene.kind == "count"
    facts = Facts(
        kind="single" if scene.kind == "scenery" else scene.kind,
        things=things[:1] if is_count else things,
        count=len(things) if is_count else None,
        style=scene.style,
        ground=scene.backdrop if scene.backdrop in PLAIN else None,
        place=scene.backdrop if scene.backdrop in SCENERIES else None,
    )
    return Case(prompt=captions(scene)[0], facts=facts, key=scene)


def _shown(thing: Thing, grey: bool) -> Shown:
    return Shown(noun=thing.noun, colour=None if grey else thing.colour)


def _sided(case: Case, number: int) -> str:
    """Says which thing stands left; every second prompt the other way round."""
    phrase = ("to the left of", "to the right of")[number % 2]
    return next(caption for caption in captions(case.key) if phrase in caption)


def _moved(scene: Scene, take: int) -> Scene:
    if take == 0:
        return scene
    rng = np.random.default_rng([SUITE_SEED, scene.noise_seed, take])
    places = tuple(
        replace(
            place,
            x=place.x + PLAY * rng.uniform(-1, 1),
            y=place.y + PLAY * rng.uniform(-1, 1),
        )
        for place in scene.placements
    )
    return replace(scene, placements=places, noise_seed=scene.noise_seed + take)
