"""How sure a figure is: Wilson's interval for shares, the bootstrap's for means, both of 95 %.

Wilson 1927, "Probable inference, the law of succession, and statistical inference"; Efron 1979,
"Bootstrap methods". Neither needs more than the sample, and both are right for few samples, where
the textbook interval of a share of 0 or 1 would have no width.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Z = 1.959963984540054
"""The normal deviate that 95 % lie within."""
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A figure, and the interval that the true one lies in with 95 %."""

    value: float
    low: float
    high: float
    count: int
    """Pictures, pairs or subsets that it was taken over."""


def share(hits: Bool[Tensor, " count"]) -> Estimate:
    """Estimates how often something is true, with Wilson's interval.

    Raises:
        ValueError: there is nothing to count.
    """
    count, successes = _counted(len(hits)), int(hits.sum())
    value, spread = successes / count, Z**2 / count
    centre = (value + spread / 2) / (1 + spread)
    reach = Z / (1 + spread) * math.sqrt(value * (1 - value) / count + spread / (4 * count))
    # Exactly 0 or 1 at the ends: the formula is off by rounding.
    low = 0.0 if successes == 0 else centre - reach
    high = 1.0 if successes == count else centre + reach
    return Estimate(value=value, low=low, high=high, count=count)


def mean(values: Float[Tensor, " count"], seed: int = 0) -> Estimate:
    """Estimates a mean, with the bootstrap's percentile interval.

    Raises:
        ValueError: there is nothing to average.
    """
    count, values = _counted(len(values)), values.double().cpu()
    generator = torch.Generator().manual_seed(seed)
    means = torch.stack(
        [
            values[torch.randint(count, (count,), generator=generator)].mean()
            for _ in range(RESAMPLES)
        ]
    )
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Estimate(value=float(values.mean()), low=low, high=high, count=count)


def _counted(count: int) -> int:
    if count < 1:
        raise ValueError("got no samples, expected 1 or more")
    return count
