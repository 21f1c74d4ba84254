"""The world of the bundled illustrations: what can be measured without the built set.

Nothing of it is held out.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count as numbers
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from unclip.data.illustrations import index
from unclip.data.samples import to_tensor
from unclip.data.scenes import PLAY, SCALES, Scene, captions, describe, paint
from unclip.errors import DataError
from unclip.evaluation.arranged import (
    Arrangement,
    count_case,
    paint_arrangement,
    sides_case,
)
from unclip.evaluation.facts import ASTRONAUT_PROMPT, Facts, Shown
from unclip.evaluation.suite import Case, Group

SEED = 20_000
"""Of the suite's scenes; those that the pocket model was trained on have seed 0."""
RIDE_SEED = SEED + 1


class BundledWorld:
    """Scenes of 36 things, as `unclip.data.scenes` composes them."""

    name = "the bundled illustrations"
    num_reference = 0

    def needs(self, group: Group | None) -> str:
        """Says that only the built set has what this world does not know."""
        return "--set"

    def cases(self, group: Group, count: int) -> list[Case]:
        """Returns the first cases of a group; none of those that need the built set."""
        if group == "diversity":
            return [_nameless(entry["thing"]) for entry in index()["drawings"][:count]]
        if group == "astronaut":
            found = islice(_scenes(lambda s: _is_astronaut(s), RIDE_SEED), count)
            return [replace(case_of(scene), prompt=ASTRONAUT_PROMPT) for scene in found]
        if group == "count":
            return [count_case(number, SEED) for number in range(count)]
        if group == "sides":
            return [sides_case(number, SEED) for number in range(count)]
        wanted = _WANTED.get(group)
        if wanted is None:
            return []
        return [case_of(scene) for scene in islice(_scenes(wanted, SEED), count)]

    def truth(
        self, cases: Sequence[Case], size_px: int, take: int = 0
    ) -> Float[Tensor, "batch 3 size size"]:
        """Paints the scene of each case; another take is another placement, and where no style is
        asked for, another style."""
        return torch.stack([to_tensor(_paint(case, size_px, take)) for case in cases])

    def reference(self, count: int, size_px: int) -> Float[Tensor, "batch 3 size size"]:
        """Raises DataError: models are trained on all its pictures."""
        raise DataError("the bundled illustrations have no pictures of another hand: give --set")

    def renders(self, count: int, size_px: int) -> Float[Tensor, "batch 3 size size"]:
        """Paints scenes at a large size."""
        return self.truth(self.cases("seen", count), size_px)


def _scenes(wanted: Callable[[Scene], bool], seed: int):
    return filter(wanted, (describe(number, seed) for number in numbers()))


def _is_astronaut(scene: Scene) -> bool:
    shown = (scene.thing, scene.mount, scene.style)
    return shown == ("astronaut", "horse", "pencil drawing")


_WANTED: dict[Group, Callable[[Scene], bool]] = {
    "seen": lambda scene: True,
    "colour": lambda scene: scene.colour is not None,
    "grey": lambda scene: scene.style == "pencil drawing",
}


def case_of(scene: Scene) -> Case:
    """Says what a scene shows as a case."""
    thing = Shown(noun=scene.thing, colour=scene.colour)
    things = (thing, Shown(noun=scene.mount)) if scene.mount else (thing,)
    facts = Facts(
        kind="ride" if scene.mount else "single",
        things=things,
        style=scene.style,
        ground=scene.background,
    )
    return Case(prompt=captions(scene)[0], facts=facts, key=scene)


def _nameless(thing: str) -> Case:
    """A case that says no more than what it shows."""
    scene = Scene(
        source=next(iter(index()["sources"])),
        style="cartoon",
        thing=thing,
        scale=SCALES[0],
        centre=(0.5, 0.5),
    )
    facts = Facts(kind="single", things=(Shown(noun=thing),))
    article = "an" if thing[0] in "aeiou" else "a"
    return Case(prompt=f"{article} {thing}", facts=facts, key=scene)


def _paint(case: Case, size_px: int, take: int) -> Image.Image:
    if isinstance(case.key, Arrangement):
        return paint_arrangement(case.key, size_px, take)
    return paint(_taken(case.key, case, take), size_px)


def _taken(scene: Scene, case: Case, take: int) -> Scene:
    """The scene itself, or with everything else that its prompt leaves open."""
    if take == 0:
        return scene
    rng = np.random.default_rng([SEED, take, len(scene.thing), round(1000 * scene.scale)])
    centre = (0.5 + PLAY * rng.uniform(-1, 1), 0.5 + PLAY * rng.uniform(-1, 1))
    scene = replace(scene, scale=scene.scale * rng.uniform(0.94, 1), centre=centre)
    if case.facts.style is None:
        sources = [(name, about["style"]) for name, about in index()["sources"].items()]
        source, style = sources[take % len(sources)]
        looks = (style, "pencil drawing", "pixel art")
        scene = replace(scene, source=source, style=looks[take % 3])
    return scene
