"""Where a prior's image embeddings come from: pictures that CLIP embeds first, or a folder of them.

Captions are encoded while it trains, in either case: token states of all texts would take a hundred
times the room.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from prior.config import PriorRun
from unclip.data.embeddings import EmbeddedPictures, EmbeddingFolder, preprocessing
from unclip.data.whitening import read_whitening
from unclip.errors import DataError
from unclip.training.companions import FrozenClip
from unclip.training.data import MapDataset
from unclip.training.pictures import Pictures, open_pictures, samples_of

EMBEDDING_BATCH = 256
Whitening = tuple[Float[Tensor, "1 dim"], Float[Tensor, "1 dim"]]
"""Mean and standard deviation."""


@runtime_checkable
class EmbeddingSource(Protocol):
    """Captions and image embeddings of a run."""

    trained_on: Mapping[str, str]
    """What a run never goes on without, by name."""

    @property
    def dataset(self) -> MapDataset:
        """Samples by (index, position in the stream)."""
        ...

    def prepare(self, device: torch.device) -> None:
        """Makes ready."""

    def whitening(self) -> Whitening:
        """Mean and standard deviation of all embeddings, after `prepare`."""
        ...

    def image_embed(self, batch: dict[str, Any]) -> Float[Tensor, "batch dim"]:
        """Returns a batch's embeddings, not whitened."""
        ...


def in_batches(pictures: Pictures) -> Iterator[tuple[Tensor, list[str]]]:
    """All pictures in the set's order and a caption of each."""
    count = len(pictures.dataset)
    for start in range(0, count, EMBEDDING_BATCH):
        yield samples_of(pictures, range(start, min(start + EMBEDDING_BATCH, count)))


class EmbeddedFirst:
    """Pictures, all of which CLIP embeds when the run begins."""

    trained_on: Mapping[str, str] = {}

    def __init__(self, pictures: Pictures, clip: FrozenClip) -> None:
        self.pictures, self.clip, self.dataset = pictures, clip, pictures.dataset
        self.embeds: Tensor

    def prepare(self, device: torch.device) -> None:
        """Embeds every picture once."""
        self.pictures.prepare(device)
        self.embeds = torch.cat(
            [self.clip.image(images) for images, _ in in_batches(self.pictures)]
        )

    def whitening(self) -> Whitening:
        """Measures it.

        Raises:
            DataError: all pictures have the same embedding.
        """
        std = self.embeds.std(0, keepdim=True)
        if not bool((std > 0).all()):  # nor NaN, of one picture
            raise DataError(
                f"the {len(self.embeds)} pictures of this run do not differ for CLIP, "
                "so their embeddings cannot be whitened: give it more pictures"
            )
        return self.embeds.mean(0, keepdim=True), std

    def image_embed(self, batch: dict[str, Any]) -> Float[Tensor, "batch dim"]:
        """Looks up a batch's pictures."""
        return self.embeds[batch["index"]]


class EmbeddedBefore:
    """A folder of embeddings, of which no more than a batch is read at a time.

    Raises:
        DataError: it is of another CLIP, was made in another way, or its whitening is of other
            embeddings.
    """

    def __init__(self, root: str, clip: FrozenClip, seed: int) -> None:
        folder = EmbeddingFolder(root)
        making, here = folder.making, preprocessing(clip.clip.config.image)
        if making.clip != clip.fingerprint:
            raise DataError(
                f"the embeddings in {root} are of the clip {making.clip}, this run's clip is "
                f"{clip.fingerprint}: name that one, or embed the pictures with this one"
            )
        if making.preprocessing != here:
            raise DataError(
                f"the pictures in {root} were prepared as {making.preprocessing!r}, this version "
                f"of unclip does {here!r}: embed them again"
            )
        self.mean, self.std = (
            torch.from_numpy(each).float()[None] for each in read_whitening(folder)
        )
        self.dataset = EmbeddedPictures(folder, seed)
        self.trained_on: Mapping[str, str] = {"embeddings": folder.id}

    def prepare(self, device: torch.device) -> None:
        """All was made ready before."""

    def whitening(self) -> Whitening:
        """Returns what was measured before."""
        return self.mean, self.std

    def image_embed(self, batch: dict[str, Any]) -> Float[Tensor, "batch dim"]:
        """Takes them from the batch."""
        return batch["image_embed"]


def open_source(config: PriorRun, clip: FrozenClip, seed: int) -> EmbeddingSource:
    """Opens what a run's configuration names.

    Raises:
        DataError: it cannot be read or does not fit.
    """
    if config.embeddings is not None:
        return EmbeddedBefore(config.embeddings, clip, seed)
    assert config.images is not None, "the configuration has one of them"
    size_px = clip.clip.config.image.image_size
    pictures = open_pictures(config.images, size_px=size_px, seed=seed, caption=config.caption)
    return EmbeddedFirst(pictures, clip)
