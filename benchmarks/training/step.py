"""A training step that can be timed, whoever wrote it, and what it works on."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.shapes import CLIP_CONTEXT, Shape

CAPTION_TOKENS = 16
"""Of the 77; the others are padding, as in most captions."""
CROP_PX = 64
"""An upsampler is trained on crops of this size."""


@dataclass(frozen=True, slots=True)
class Step:
    """One network in training."""

    name: str
    run: Callable[[], None]
    """Forward, backward, clipping, update and average, for one batch."""
    parameters: int
    batch: int

    def flop(self) -> float:
        """Counts the operations of one sample, forward and backward; runs a step."""
        with FlopCounterMode(display=False) as counter:
            self.run()
        return counter.get_total_flops() / self.batch


@dataclass(frozen=True, slots=True)
class Batch:
    """What every implementation trains on: random, of the right shapes."""

    images: Tensor
    """(batch, 3, side, side) in [-1, 1]."""
    image_embed: Tensor
    text_embed: Tensor
    """(batch, dim), of length 1."""
    text_hidden: Tensor
    """(batch, 77, width)."""
    text_mask: Tensor
    """(batch, 77), True on a caption's tokens."""


def make_batch(shape: Shape, size: int, device: torch.device) -> Batch:
    """Draws a batch."""
    g = torch.Generator().manual_seed(0)
    images = torch.rand(size, 3, shape.small_px, shape.small_px, generator=g) * 2 - 1
    embeds = [
        torch.nn.functional.normalize(torch.randn(size, shape.embed_dim, generator=g), dim=-1)
        for _ in range(2)
    ]
    hidden = torch.randn(size, CLIP_CONTEXT, shape.text.width, generator=g)
    mask = torch.arange(CLIP_CONTEXT).expand(size, -1) < CAPTION_TOKENS
    return Batch(*(x.to(device) for x in (images, *embeds, hidden, mask)))
