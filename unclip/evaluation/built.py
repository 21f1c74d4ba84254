"""The world of the built set: composed scenes, what is held out, and pictures of another hand."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from unclip.data.composer.dataset import open_scenes
from unclip.data.composer.large import render_large
from unclip.data.composer.scene import Scene
from unclip.data.composer.world import WorldSettings
from unclip.data.drawings.records import Drawing, read_table
from unclip.evaluation.composed import RECIPES, ComposedScenes
from unclip.evaluation.drawn import drawing_case, in_fixed_order, is_for_the_judge, render_all
from unclip.evaluation.suite import Case, Group

REFERENCE_SEED = 700_002
RENDER_SEED = 700_003
MAX_SCENES = 2500
"""Held-out scenes among the reference; the other half are drawings of tier C."""


class BuiltWorld:
    """Scenes and drawings of the set; no model is trained on those that are held out."""

    def __init__(self, folder: Path) -> None:
        """Reads the set's table, and packs its sprites the first time.

        Raises:
            DataError: there is no finished set in `folder`, or a drawing is damaged.
            ConfigError: the set has too few drawings for scenes.
        """
        self.folder, self.name = folder, f"the set {folder}"
        drawings = [drawing for drawing in read_table(folder) if not is_for_the_judge(drawing)]
        self.scenes = ComposedScenes(folder)
        shipped = in_fixed_order([drawing for drawing in drawings if drawing.tier != "C"])
        self._drawings: dict[Group, list[Drawing]] = {
            "heldout_drawings": [drawing for drawing in shipped if drawing.split == "val"],
            "heldout_concepts": [drawing for drawing in shipped if drawing.split == "test"],
        }
        self._foreign = in_fixed_order([drawing for drawing in drawings if drawing.tier == "C"])

    @property
    def num_reference(self) -> int:
        """Twice the drawings of tier C, at most two halves of 2,500."""
        return len(self._foreign) + MAX_SCENES if self._foreign else 0

    def needs(self, group: Group | None) -> str:
        """Says what the set lacks."""
        return "a --set with tier C" if group is None else "a larger --set"

    def cases(self, group: Group, count: int) -> list[Case]:
        """Returns the first cases of a group."""
        if group in self._drawings:
            return [drawing_case(drawing) for drawing in self._drawings[group][:count]]
        return self.scenes.cases(group, count)

    def truth(
        self, cases: Sequence[Case], size_px: int, take: int = 0
    ) -> Float[Tensor, "batch 3 size size"]:
        """Renders the drawing of each case, or paints its scene; never both in one call. Another
        take is another drawing of the same name, or a scene whose things are moved a little."""
        if isinstance(cases[0].key, Scene):
            return self.scenes.truth(cases, size_px, take)
        drawings = [case.key[take] if isinstance(case.key, tuple) else case.key for case in cases]
        return render_all(self.folder, drawings, size_px)

    def reference(self, count: int, size_px: int) -> Float[Tensor, "batch 3 size size"]:
        """Returns scenes of held-out compositions, and drawings of tier C, which neither a model
        nor the judge is trained on."""
        num_scenes = min(MAX_SCENES, count // 2)
        found = self.scenes.scenes(RECIPES["heldout_compositions"], REFERENCE_SEED)
        scenes = [scene for _, scene in zip(range(num_scenes), found, strict=False)]
        foreign = render_all(self.folder, self._foreign[: count - num_scenes], size_px)
        return torch.cat([self.scenes.paint(scenes, size_px), foreign])

    def renders(self, count: int, size_px: int) -> Float[Tensor, "batch 3 size size"]:
        """Renders scenes from the set's SVGs at full size, by a seed that no training uses.

        Raises:
            ConfigError: the set has too few vector drawings for scenes.
            BackendError: the SVG renderer (extra `data`) is not installed.
        """
        world, _ = open_scenes(self.folder, WorldSettings(), seed=RENDER_SEED, vector_only=True)
        scenes = [world.describe(index) for index in range(count)]
        rendered = [render_large(each, world.catalogue, self.folder, size_px) for each in scenes]
        return torch.stack(rendered)
