"""CLIP image embeddings as codes: principal components, each in buckets (unCLIP section 2.2).

The paper keeps 319 of 1,024 dimensions, for less than 1 % of the mean squared error, and puts each
in 1,024 buckets. Here the buckets of a component are equally wide and reach so many of its standard
deviations to both sides, so that one pass over the embeddings, which adds up their moments, is all
that fitting takes.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unclip.errors import DataError

REACH = 4.0
"""Standard deviations from a component's mean to its outermost bucket's edge."""


class Codes(NamedTuple):
    """Where the components lie, and how far their buckets reach; components by falling variance."""

    mean: Float[Tensor, " dim"]
    components: Float[Tensor, "dim codes"]
    """Orthonormal columns."""
    std: Float[Tensor, " codes"]

    def encode(self, embed: Float[Tensor, "batch dim"], buckets: int) -> Int[Tensor, "batch codes"]:
        """Returns each component's bucket, 0 to `buckets` - 1; what lies beyond is clipped."""
        places = (embed - self.mean) @ self.components / self.std
        scaled = (places + REACH) * (buckets / (2 * REACH))
        return scaled.floor().clamp(0, buckets - 1).long()

    def decode(self, codes: Int[Tensor, "batch codes"], buckets: int) -> Float[Tensor, "batch dim"]:
        """Returns the embedding in the middle of the buckets; `encode` finds them again."""
        places = (codes + 0.5) * (2 * REACH / buckets) - REACH
        return (places.to(self.std) * self.std) @ self.components.T + self.mean


class Moments:
    """Adds up embeddings, batch by batch, for their mean and covariance, in float64."""

    def __init__(self, dim: int, device: torch.device | str = "cpu") -> None:
        self.count = 0
        self._sum = torch.zeros(dim, dtype=torch.float64, device=device)
        self._products = torch.zeros(dim, dim, dtype=torch.float64, device=device)

    def add(self, embed: Float[Tensor, "batch dim"]) -> None:
        """Takes a batch in."""
        wide = embed.double()
        self.count += len(wide)
        self._sum += wide.sum(0)
        self._products += wide.T @ wide

    def fit(self, num_codes: int) -> Codes:
        """Returns the first principal components, in float32.

        Raises:
            DataError: the embeddings span fewer dimensions.
        """
        mean = self._sum / max(1, self.count)
        covariance = self._products / max(1, self.count) - torch.outer(mean, mean)
        variances, vectors = torch.linalg.eigh(covariance)
        order = variances.argsort(descending=True)
        variances, vectors = variances[order], vectors[:, order]
        spanned = int((variances > 1e-10 * variances[0].clamp(min=0)).sum())
        if spanned < num_codes or not bool(variances[0] > 0):
            raise DataError(
                f"the {self.count} pictures of this run span {spanned} dimensions of CLIP's space, "
                f"model.num_codes is {num_codes}: give it more pictures, or fewer codes"
            )
        kept = slice(0, num_codes)
        return Codes(mean.float(), vectors[:, kept].float(), variances[kept].sqrt().float())


def dot_edges(dots: Float[Tensor, " samples"], buckets: int) -> Float[Tensor, " edges"]:
    """Returns the inner edges of buckets that hold equally many of the dot products.

    So the upper half of the buckets is the upper half of the distribution.
    """
    shares = torch.arange(1, buckets, dtype=torch.float64, device=dots.device) / buckets
    places = (shares * (len(dots) - 1)).round().long()
    return dots.float().sort().values[places]
