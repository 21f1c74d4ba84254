"""Precision and recall of a generative model, by nearest neighbours.

Kynkäänniemi et al. 2019, arXiv 1904.06991: a set's manifold is all that lies at most as far from
one of its points as that point's k-th neighbour in the set. Precision is the share of the model's
pictures inside the real manifold (are they real?), recall the share of real ones inside the
model's (are all kinds there?). In float64, block by block, on the features' device.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

NEIGHBOURS = 3
BLOCK = 2048
"""Points whose distances to all others are held at a time."""


class Inside(NamedTuple):
    """Which points lie in the other set's manifold."""

    precision: Bool[Tensor, " many"]
    """Of the model's."""
    recall: Bool[Tensor, " few"]
    """Of the real ones."""


def precision_recall(
    made: Float[Tensor, "many dim"], real: Float[Tensor, "few dim"], neighbours: int = NEIGHBOURS
) -> Inside:
    """Says which points of each set lie in the other one's manifold.

    Raises:
        ValueError: a set has no more points than `neighbours`.
    """
    for features in (made, real):
        if len(features) <= neighbours:
            raise ValueError(f"got {len(features)} samples, expected more than {neighbours}")
    made, real = made.double(), real.double()
    return Inside(
        inside(made, real, radii(real, neighbours)), inside(real, made, radii(made, neighbours))
    )


def radii(points: Float[Tensor, "count dim"], neighbours: int) -> Float[Tensor, " count"]:
    """Returns each point's distance to its k-th neighbour in its own set, itself not counted."""
    found = [_distances(part, points).kthvalue(neighbours + 1) for part in points.split(BLOCK)]
    return torch.cat([part.values for part in found])


def inside(
    points: Float[Tensor, "many dim"],
    centres: Float[Tensor, "few dim"],
    radius: Float[Tensor, " few"],
) -> Bool[Tensor, " many"]:
    """Says which points lie in one ball or more."""
    parts = [(_distances(part, centres) <= radius).any(dim=1) for part in points.split(BLOCK)]
    return torch.cat(parts)


def _distances(first: Tensor, second: Tensor) -> Tensor:
    return torch.cdist(first, second)
