"""Scenes as training sets: whole ones that the device paints, and crops of large ones."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from unclip.data.composer.captions import caption
from unclip.data.composer.catalogue import Catalogue
from unclip.data.composer.large import LargeScenes
from unclip.data.composer.painter import Painter, to_row
from unclip.data.composer.sprites import Sprites, load_sprites
from unclip.data.composer.world import World, WorldSettings
from unclip.data.drawings.records import read_set

ENDLESS = 2**20
"""Length of a set that never ends: its scenes are told by the position in the stream."""
SPRITE_PX = 96
CROP_TRIES = 4
BLANK_STD = 0.03
"""A crop whose values (-1 to 1) vary less than this shows nothing."""


def open_scenes(
    folder: Path,
    settings: WorldSettings,
    *,
    seed: int = 0,
    side_px: int = SPRITE_PX,
    vector_only: bool = False,
) -> tuple[World, Sprites]:
    """Reads a built set as a world of scenes, and its sprites.

    Raises:
        DataError: it is no such set, or a drawing of it is damaged.
        ConfigError: the settings leave nothing of it.
    """
    catalogue = Catalogue(
        read_set(folder),
        sources=settings.sources,
        nouns=settings.nouns,
        vector_only=vector_only,
    )
    sprites = load_sprites(folder, catalogue, side_px)
    return World(catalogue, sprites, settings, seed), sprites


class SceneDataset:
    """Scenes by (index, position in the stream), as rows that a painter paints.

    Without a number of scenes the position alone tells which, so none comes twice; the caption is
    drawn anew for every position.
    """

    def __init__(self, world: World, num: int | None, synonym_share: float) -> None:
        self.world, self.num, self.synonym_share = world, num, synonym_share

    def __len__(self) -> int:
        return self.num or ENDLESS

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """Returns the scene's row (`painter.to_row`), caption, negative, index and skipped."""
        index, position = key
        scene = self.world.describe(position if self.num is None else index)
        rng = np.random.default_rng([self.world.seed, position])
        said, negative = caption(scene, rng, self.synonym_share)
        about = {"caption": said, "negative": negative, "index": index, "skipped": 0}
        return to_row(scene) | about


class ScenePictures:
    """A training set of scenes and what paints its batches."""

    def __init__(
        self,
        folder: Path,
        settings: WorldSettings,
        *,
        seed: int,
        size_px: int,
        num: int | None = None,
        synonym_share: float = 0.0,
    ) -> None:
        """Opens a built set; the sprites lie on the CPU until `prepare`."""
        side_px = max(SPRITE_PX, size_px)
        world, self._sprites = open_scenes(folder, settings, seed=seed, side_px=side_px)
        self.dataset = SceneDataset(world, num, synonym_share)
        self.painter = Painter(self._sprites, size_px)

    def prepare(self, device: torch.device) -> None:
        """Moves the sprites to the device that paints."""
        self.painter = Painter(self._sprites.to(device), self.painter.size_px)

    def images(self, batch: dict[str, Any]) -> Float[Tensor, "batch 3 height width"]:
        """Paints a batch, in [-1, 1]."""
        return self.painter.paint_batch(batch)


class LargeCrops:
    """Random squares of large pictures of scenes, by (index, position in the stream)."""

    def __init__(
        self,
        folder: Path,
        settings: WorldSettings,
        *,
        seed: int,
        num: int | None,
        size_px: int,
        crop_px: int,
        cache: Path,
        cache_bytes: int,
    ) -> None:
        """Opens a built set; large pictures are rendered when they are first asked for."""
        self.world, _ = open_scenes(folder, settings, seed=seed, vector_only=True)
        self.large = LargeScenes(self.world.catalogue, folder, size_px, cache, cache_bytes)
        self.num, self.seed, self.size_px, self.crop_px = num, seed, size_px, crop_px

    def __len__(self) -> int:
        return self.num or ENDLESS

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """Returns image (3, crop, crop) in [-1, 1], caption, index and skipped.

        The square is a function of the seed and the position; one that shows nothing is drawn
        again, a few times.
        """
        index, position = key
        scene = self.world.describe(position if self.num is None else index)
        image = self.large.picture(scene)
        rng = np.random.default_rng([self.seed, position])
        said, _ = caption(scene, rng)
        crop = image
        for _ in range(CROP_TRIES):
            top, left = rng.integers(self.size_px - self.crop_px + 1, size=2)
            crop = image[:, top : top + self.crop_px, left : left + self.crop_px]
            if crop.std() >= BLANK_STD:
                break
        return {"image": crop.clone(), "caption": said, "index": index, "skipped": 0}
