"""Scenes as a training set: workers describe them, the device paints them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unclip.data.composer.captions import caption
from unclip.data.composer.catalogue import Catalogue
from unclip.data.composer.painter import Painter, to_row
from unclip.data.composer.sprites import Sprites, load_sprites
from unclip.data.composer.world import World, WorldSettings
from unclip.data.drawings.records import read_set

EPOCH = 2**20
"""Scenes an epoch; the next one has others."""


class SceneDataset:
    """Scenes by (index, position in the stream); the position alone decides, none comes twice."""

    def __init__(self, world: World, *, synonym_share: float, length: int = EPOCH) -> None:
        self.world, self.synonym_share, self.length = world, synonym_share, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """Returns the scene's row (`painter.to_row`), caption, negative, index and skipped."""
        index, position = key
        scene = self.world.describe(position)
        rng = np.random.default_rng([self.world.seed, position])
        said, negative = caption(scene, rng, self.synonym_share)
        about = {"caption": said, "negative": negative, "index": index, "skipped": 0}
        return to_row(scene) | about


def open_scenes(
    folder: Path, settings: WorldSettings, *, seed: int, side_px: int
) -> tuple[World, Sprites]:
    """Reads a built set as a world of scenes, and its sprites.

    Raises:
        DataError: it is no such set, or a drawing of it is damaged.
        ConfigError: the settings leave nothing of it.
    """
    drawings = read_set(folder)
    chosen = Catalogue(drawings, sources=settings.sources, max_concepts=settings.max_concepts)
    sprites = load_sprites(folder, chosen, side_px)
    return World(chosen, sprites, settings, seed), sprites


class ScenePictures:
    """A training set of scenes and what paints its batches."""

    def __init__(
        self,
        folder: Path,
        settings: WorldSettings,
        *,
        seed: int,
        size_px: int,
        synonym_share: float = 0.0,
    ) -> None:
        """Opens a built set; sprites lie on the CPU until `prepare`."""
        world, self._sprites = open_scenes(folder, settings, seed=seed, side_px=max(96, size_px))
        self.dataset = SceneDataset(world, synonym_share=synonym_share)
        self.size_px = size_px
        self.painter = Painter(self._sprites, size_px)

    def prepare(self, device: torch.device) -> None:
        """Moves the sprites to the device that paints."""
        self.painter = Painter(self._sprites.to(device), self.size_px)

    def images(self, batch: dict[str, Any]) -> Float[Tensor, "batch 3 size size"]:
        """Paints a batch, in [-1, 1]."""
        return self.painter.paint_batch(batch)
