"""How far two sets of pictures lie apart in a judge's features: FID and KID.

FID is the Fréchet distance of the two Gaussians (Heusel et al. 2017, arXiv 1706.08500); KID is the
unbiased squared MMD with a cubic kernel, over subsets (Bińkowski et al. 2018, arXiv 1801.01401).
Both are told in the judge's features, so they compare with no figure of Inception's.
"""

import torch
from jaxtyping import Float
from torch import Tensor

SUBSETS, SUBSET_SIZE = 100, 256


def frechet_distance(first: Float[Tensor, "many dim"], second: Float[Tensor, "few dim"]) -> float:
    """Returns the squared Fréchet distance of the Gaussians with the samples' moments.

    The trace of the product's square root is that of a symmetric matrix's, which needs no more than
    eigenvalues: tr (A B)^1/2 = tr (A^1/2 B A^1/2)^1/2. In float64.

    Raises:
        ValueError: a set has fewer than two samples.
    """
    first, second = _check(first), _check(second)
    root = symmetric_root(torch.cov(first.T).reshape(first.shape[1], -1))
    other = torch.cov(second.T).reshape(second.shape[1], -1)
    shared = torch.linalg.eigvalsh(root @ other @ root).clamp(min=0).sqrt().sum()
    apart = (first.mean(0) - second.mean(0)).square().sum()
    return float((apart + (root @ root).trace() + other.trace() - 2 * shared).clamp(min=0))


def symmetric_root(matrix: Float[Tensor, "dim dim"]) -> Float[Tensor, "dim dim"]:
    """Returns the square root of a symmetric matrix without negative eigenvalues, in float64."""
    values, vectors = torch.linalg.eigh(matrix.double())
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def kernel_distance(
    first: Float[Tensor, "many dim"],
    second: Float[Tensor, "few dim"],
    *,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = 0,
) -> Float[Tensor, " subsets"]:
    """Returns the squared MMD of random subsets; their mean is KID, and it may be below zero.

    Args:
        subset_size: samples of each set in a subset, at most as many as the smaller set has.

    Raises:
        ValueError: a set has fewer than two samples.
    """
    first, second = _check(first), _check(second)
    size = min(subset_size, len(first), len(second))
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(subsets):
        rows = torch.randperm(len(first), generator=generator)[:size]
        columns = torch.randperm(len(second), generator=generator)[:size]
        found.append(squared_mmd(first[rows], second[columns]))
    return torch.stack(found)


def squared_mmd(
    first: Float[Tensor, "size dim"], second: Float[Tensor, "size dim"]
) -> Float[Tensor, ""]:
    """Returns the unbiased squared MMD of two samples of equal size, kernel (x·y / dim + 1)^3."""
    size, dim = first.shape
    own = sum(_off_diagonal((x @ x.T / dim + 1) ** 3) for x in (first, second))
    across = ((first @ second.T / dim + 1) ** 3).sum()
    return own / (size * (size - 1)) - 2 * across / size**2


def _off_diagonal(kernel: Tensor) -> Tensor:
    return kernel.sum() - kernel.trace()


def _check(features: Tensor) -> Tensor:
    if len(features) < 2:
        raise ValueError(f"got {len(features)} samples, expected 2 or more")
    return features.double().cpu()
