import math
from importlib.util import find_spec

import pytest
import torch

from unclip.evaluation.distribution import (
    frechet_distance,
    kernel_distance,
    squared_mmd,
    symmetric_root,
)


def normal(count: int, dim: int, seed: int) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def with_moments(values: torch.Tensor, mean: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    """Gives a sample exactly this mean and, along the axes, these standard deviations."""
    values = values.double() - values.double().mean(0)
    white = values @ torch.linalg.inv(symmetric_root(torch.cov(values.T)))
    return mean.double() + white * spread.double()


def test_frechet_distance_of_gaussians_along_the_axes() -> None:
    """For diagonal covariances: |m1 - m2|² + Σ (s1 - s2)²."""
    means = [torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.5, -1.0, 2.0])]
    spreads = [torch.tensor([1.0, 2.0, 0.5]), torch.tensor([3.0, 0.1, 0.5])]
    first = with_moments(normal(300, 3, 0), means[0], spreads[0])
    second = with_moments(normal(200, 3, 1), means[1], spreads[1])
    wanted = (means[0] - means[1]).square().sum() + (spreads[0] - spreads[1]).square().sum()
    assert frechet_distance(first, second) == pytest.approx(float(wanted), rel=1e-6)
    assert frechet_distance(second, first) == pytest.approx(float(wanted), rel=1e-6)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_does_not_turn_with_the_axes() -> None:
    first, second = normal(90, 6, 2) * torch.arange(1, 7), normal(80, 6, 3) + 1
    turn, _ = torch.linalg.qr(normal(6, 6, 4))
    turned = frechet_distance(first @ turn, second @ turn)
    assert turned == pytest.approx(frechet_distance(first, second), rel=1e-4)


@pytest.mark.skipif(find_spec("scipy") is None, reason="scipy is not installed")
@pytest.mark.parametrize("count", [300, 5])
def test_frechet_distance_is_that_of_sqrtm(count: int) -> None:
    """The textbook formula, with scipy's root of the product; five samples are rank-deficient."""
    import numpy as np
    from scipy import linalg

    first = (normal(count, 12, 5) @ normal(12, 12, 6)).double()
    second = (normal(count, 12, 7) @ normal(12, 12, 8) + 0.3).double()
    one, two = torch.cov(first.T).numpy(), torch.cov(second.T).numpy()
    # A rank-deficient product has no exact root for sqrtm: lift it a little.
    lift = 1e-12 * np.eye(12)
    root = np.real(linalg.sqrtm((one + lift) @ (two + lift)))
    apart = float((first.mean(0) - second.mean(0)).square().sum())
    wanted = apart + np.trace(one) + np.trace(two) - 2 * np.trace(root)
    assert frechet_distance(first, second) == pytest.approx(wanted, rel=1e-4)


def test_symmetric_root() -> None:
    matrix = normal(4, 4, 9).double()
    matrix = matrix @ matrix.T
    root = symmetric_root(matrix.float()).double()
    assert torch.allclose(root @ root, matrix, atol=1e-5)


def brute_mmd(first: torch.Tensor, second: torch.Tensor) -> float:
    """The definition, term by term."""

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        return (sum(float(x) * float(y) for x, y in zip(a, b, strict=True)) / len(a) + 1) ** 3

    size = len(first)
    total = 0.0
    for i in range(size):
        for j in range(size):
            if i != j:
                total += kernel(first[i], first[j]) / (size * (size - 1))
                total += kernel(second[i], second[j]) / (size * (size - 1))
            total -= 2 * kernel(first[i], second[j]) / size**2
    return total


def test_squared_mmd_is_its_definition() -> None:
    first, second = normal(7, 4, 10).double(), normal(7, 4, 11).double() + 0.5
    assert float(squared_mmd(first, second)) == pytest.approx(brute_mmd(first, second), rel=1e-9)


def test_kernel_distance_is_unbiased() -> None:
    """Of equal distributions it is 0 on average, below it about as often as above."""
    same = [
        float(kernel_distance(normal(40, 5, s), normal(40, 5, 99 + s), subsets=10).mean())
        for s in range(60)
    ]
    spread = float(torch.tensor(same).std()) / math.sqrt(len(same))
    assert abs(sum(same) / len(same)) < 3 * spread
    assert 10 < sum(value < 0 for value in same) < 50
    apart = kernel_distance(normal(60, 5, 1), normal(50, 5, 2) + 1)
    assert apart.shape == (100,)
    assert float(apart.min()) > 10 * max(same)


def test_whole_sets_and_seeds() -> None:
    first, second = normal(30, 3, 12), normal(30, 3, 13)
    whole = kernel_distance(first, second, subsets=2, subset_size=1000)
    assert torch.allclose(whole, squared_mmd(first.double(), second.double()).expand(2))
    some = kernel_distance(first, second, subset_size=10)
    assert torch.equal(some, kernel_distance(first, second, subset_size=10))
    assert not torch.equal(some, kernel_distance(first, second, subset_size=10, seed=1))


def test_too_few() -> None:
    with pytest.raises(ValueError, match="got 1 samples, expected 2 or more"):
        frechet_distance(torch.zeros(1, 3), torch.zeros(4, 3))
    with pytest.raises(ValueError, match="got 1 samples, expected 2 or more"):
        kernel_distance(torch.zeros(4, 3), torch.zeros(1, 3))
