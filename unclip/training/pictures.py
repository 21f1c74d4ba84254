"""Where a stage's pictures come from: a folder, shards, or scenes that the training device
paints."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import default_collate

from unclip.config import INF, check_ranges
from unclip.data.composer.dataset import LargeCrops, ScenePictures
from unclip.data.composer.world import WorldSettings
from unclip.data.images import CaptionedImages, ImageCrops
from unclip.data.samples import Crop, Whole
from unclip.data.shards.index import is_shards
from unclip.data.shards.pictures import ShardPictures
from unclip.training.data import MapDataset


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneSource:
    """Scenes of a built set of drawings (`unclip data illustrations`) instead of a folder."""

    set: str
    """Folder of the built set."""
    world: WorldSettings = field(default_factory=WorldSettings)
    num: int | None = None
    """Different scenes; None never shows one twice. Stages that look at all pictures first, or keep
    them on disk, need a number."""
    synonym_share: float = 0.0
    """How often a caption calls a thing by another word that it has."""
    cache: str | None = None
    """Folder that large pictures are kept in; None is beside the set."""
    cache_bytes: int = 2 * 10**9

    def __post_init__(self) -> None:
        check_ranges(self, "images.", num=(1, INF), synonym_share=(0, 1), cache_bytes=(1, INF))


Source = str | SceneSource
"""A folder of captioned pictures or of shards of them, or scenes."""


@runtime_checkable
class Pictures(Protocol):
    """A training set, and what makes pictures of its batches."""

    @property
    def dataset(self) -> MapDataset:
        """Samples by (index, position in the stream)."""
        ...

    def prepare(self, device: torch.device) -> None:
        """Moves what paints to the training device."""

    def images(self, batch: dict[str, Any]) -> Float[Tensor, "batch 3 height width"]:
        """Returns a collated batch's pictures, in [-1, 1]."""
        ...


class FolderPictures:
    """Pictures that the data set itself reads."""

    def __init__(self, dataset: MapDataset) -> None:
        self.dataset = dataset

    def prepare(self, device: torch.device) -> None:
        """Nothing is painted."""

    def images(self, batch: dict[str, Any]) -> Float[Tensor, "batch 3 height width"]:
        """The pictures of a batch, as they were read."""
        return batch["image"]


def open_pictures(
    source: Source, *, size_px: int, seed: int, caption: str | None = None
) -> Pictures:
    """Opens whole pictures of one size, with captions.

    Args:
        caption: of a folder's pictures that have none; None leaves them out.

    Raises:
        DataError: the folder or the set cannot be read.
    """
    if isinstance(source, str):
        if is_shards(Path(source)):
            return FolderPictures(ShardPictures(source, Whole(size_px), seed))
        return FolderPictures(CaptionedImages(source, size_px, seed, caption))
    return ScenePictures(
        Path(source.set),
        source.world,
        seed=seed,
        size_px=size_px,
        num=source.num,
        synonym_share=source.synonym_share,
    )


def open_crops(
    source: Source, *, size_px: int, crop_px: int, seed: int, caption: str | None = None
) -> MapDataset:
    """Opens random squares of pictures: of a folder's as they are, of scenes at `size_px`.

    Raises:
        DataError: the folder or the set cannot be read.
    """
    if isinstance(source, str):
        if is_shards(Path(source)):
            return ShardPictures(source, Crop(crop_px), seed)
        return ImageCrops(source, crop_px, seed, caption)
    folder = Path(source.set)
    return LargeCrops(
        folder,
        source.world,
        seed=seed,
        num=source.num,
        size_px=size_px,
        crop_px=crop_px,
        cache=Path(source.cache) if source.cache else folder / "large",
        cache_bytes=source.cache_bytes,
    )


def samples_of(
    pictures: Pictures, indices: Sequence[int]
) -> tuple[Float[Tensor, "batch 3 height width"], list[str]]:
    """Returns some pictures and their captions, to look at or to measure."""
    batch = default_collate([pictures.dataset[index, index] for index in indices])
    return pictures.images(batch), list(batch["caption"])
