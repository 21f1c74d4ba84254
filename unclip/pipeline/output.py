"""What a call returns: pictures in the form that was asked for, and what they were made from."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from unclip.errors import InputError

OUTPUT_TYPES = ("pil", "np", "pt", None)


class _Fields(NamedTuple):
    images: Any
    """A list of PIL images; an array (batch, height, width, 3) or a tensor (batch, 3, height,
    width) in [0, 1]."""
    seeds: list[int] | None
    """Each picture's own: it makes the picture again, alone. None where generators were given."""
    image_embeds: Tensor
    """CLIP embeddings that the pictures were painted from, (batch, dim), float32 on the CPU."""


class UnCLIPPipelineOutput(_Fields):
    """Pictures and their origins: a tuple that has names, and knows them as keys, too."""

    def __getitem__(self, key: Any) -> Any:
        """Returns a field by number or name, as diffusers' outputs do."""
        if isinstance(key, str):
            if key not in self._fields:
                raise KeyError(key)
            return getattr(self, key)
        return super().__getitem__(key)


@dataclass(frozen=True)
class Picture:
    """One finished picture."""

    index: int
    """In the request."""
    pixels: Float[Tensor, "3 height width"]
    """In [0, 1], float32 on the CPU."""
    image_embed: Float[Tensor, " dim"]
    prompt: str | None
    seed: int | None
    batch_size: int
    batch_index: int

    @property
    def image(self) -> Image.Image:
        """The picture in 8 bits a channel."""
        return to_pil(self.pixels)


def to_pil(pixels: Float[Tensor, "3 height width"]) -> Image.Image:
    """Turns values in [0, 1] into a picture."""
    bytes_ = (pixels * 255).round().to(torch.uint8)
    return Image.fromarray(bytes_.permute(1, 2, 0).contiguous().numpy())


class Collector:
    """Gathers finished pictures in the form that was asked for, and nothing else of them."""

    def __init__(self, output_type: str | None) -> None:
        """Takes `pil`, `np`, `pt`, or None to keep no pixels.

        Raises:
            InputError: it is none of these.
        """
        if output_type not in OUTPUT_TYPES:
            known = ", ".join(map(str, OUTPUT_TYPES))
            raise InputError(f"output_type is {output_type!r}, expected {known}")
        self.output_type = output_type
        self.images: list[Any] = []
        self.seeds: list[int | None] = []
        self.embeds: list[Tensor] = []

    def add(self, picture: Picture) -> None:
        """Takes a finished picture."""
        if self.output_type == "pil":
            self.images.append(picture.image)
        elif self.output_type is not None:
            self.images.append(picture.pixels)
        self.seeds.append(picture.seed)
        self.embeds.append(picture.image_embed)

    def output(self, dim: int, size: int) -> UnCLIPPipelineOutput:
        """Joins them; where there are none, `dim` and `size` give their shapes."""
        images: Any = self.images
        if self.output_type in ("np", "pt"):
            images = torch.stack(self.images) if self.images else torch.zeros(0, 3, size, size)
        if self.output_type == "np":
            images = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
        seeds = [seed for seed in self.seeds if seed is not None]
        return UnCLIPPipelineOutput(
            images,
            seeds if len(seeds) == len(self.seeds) else None,
            torch.stack(self.embeds) if self.embeds else torch.zeros(0, dim),
        )
