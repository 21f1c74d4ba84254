"""What stands out from a plain background, and how many pieces of it there are."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

APART = 0.25
"""A pixel stands out where a channel in [-1, 1] is farther than this from the background."""
SMALL = 0.2
"""A piece of less than this share of the largest is a detail of a thing, and not a thing."""
SPECK = 0.005
"""Nor is one of less than this share of the picture."""


def background(images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3"]:
    """Returns each picture's plain background: the median colour of its outermost pixels."""
    edges = (images[..., 0, :], images[..., -1, :], images[..., :, 0], images[..., :, -1])
    return torch.cat(edges, dim=-1).median(dim=-1).values


def foreground(
    images: Float[Tensor, "batch 3 height width"],
) -> Bool[Tensor, "batch height width"]:
    """Marks what stands out from the background of pictures in [-1, 1]."""
    return (images - background(images)[..., None, None]).abs().amax(dim=1) > APART


def label(mask: Bool[Tensor, "batch height width"]) -> Int[Tensor, "batch height width"]:
    """Numbers the connected pieces of each mask, diagonal neighbours included; 0 is outside.

    Every pixel starts with a number of its own, and takes the largest of its neighbourhood until
    nothing changes; so a piece ends with the largest number in it.
    """
    height, width = mask.shape[1:]
    # Float64 holds these numbers exactly, and max pooling takes no integers.
    own = torch.arange(1, height * width + 1, dtype=torch.float64, device=mask.device)
    labels = own.reshape(1, height, width) * mask
    while True:
        grown = functional.max_pool2d(labels[:, None], 3, stride=1, padding=1)[:, 0] * mask
        if torch.equal(grown, labels):
            return labels.long()
        labels = grown


def count_pieces(mask: Bool[Tensor, "batch height width"]) -> Int[Tensor, " batch"]:
    """Counts the pieces of each mask that are large enough to be things of one kind."""
    labels = label(mask)
    counts = []
    for row in labels:
        sizes = torch.bincount(row.flatten())[1:]
        least = max(SMALL * int(sizes.max()) if len(sizes) else 0.0, SPECK * row.numel())
        counts.append(int((sizes >= least).sum()))
    return torch.tensor(counts, device=mask.device)


def count_things(images: Float[Tensor, "batch 3 height width"]) -> Int[Tensor, " batch"]:
    """Counts the separate things of pictures in [-1, 1] on plain backgrounds.

    What touches counts as one: the figure on real pictures says what that costs.
    """
    return count_pieces(foreground(images))
