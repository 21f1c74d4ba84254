"""Power-function averages: their lengths, and any of them as a sum of others.

Karras et al. 2024, "Analyzing and Improving the Training Dynamics of Diffusion Models" (EDM2, arXiv
2312.02696), section 3 and appendix C, from the equations. An average at time t weighs the weights
of time tau by p(tau) = (gamma + 1) tau^gamma / t^(gamma + 1) on [0, t], so its length grows with
the training: its standard deviation is a fixed share `std` of t. Times are optimiser steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHORTEST, LONGEST = 0.001, 0.288
"""The range of `std`: at 12^(-1/2), a little more than the longest, gamma is 0, the plain mean of
all steps."""


@dataclass(frozen=True)
class Profile:
    """How an average of one time weighs the weights before it."""

    step: float
    """Of the average, more than 0."""
    gamma: float


@dataclass(frozen=True)
class Fit:
    """An average as a sum of others."""

    weights: NDArray[np.float64]
    """Of the others, in their order; their sum is 1."""
    error: float
    """Norm of what the sum's profile lacks, relative to the norm of the profile that was asked."""


def gamma_of(std: float) -> float:
    """The exponent whose profile has the standard deviation `std` t.

    std^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)), a cubic in gamma of which the largest root is
    meant (the others are below 0).
    """
    ratio = std**-2
    return float(np.roots([1, 7, 16 - ratio, 12 - ratio]).real.max())


def std_of(gamma: float) -> float:
    """The inverse of `gamma_of`."""
    return ((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3))) ** 0.5


def decay_at(gamma: float, step: int) -> float:
    """The share of itself that an average keeps at step 1, 2, ...

    It is the continuous profile exactly for weights that stand still between steps: step j then
    weighs (j^(gamma + 1) - (j - 1)^(gamma + 1)) / t^(gamma + 1). Of the start nothing remains.
    """
    return (1 - 1 / step) ** (gamma + 1)


def overlap(a: Profile, b: Profile) -> float:
    """The integral of the product of two profiles.

    In logarithms: t^(gamma + 1) is beyond float64 for short averages of long runs.
    """
    if a.step > b.step:
        a, b = b, a
    factor = (a.gamma + 1) * (b.gamma + 1) / (a.gamma + b.gamma + 1)
    return factor * float(np.exp(b.gamma * np.log(a.step / b.step))) / b.step


def fit(known: Sequence[Profile], wanted: Profile) -> Fit:
    """Finds the sum of known averages whose profile is nearest to the wanted one (appendix C).

    Departs from the paper in that the weights of the sum add up to 1: the least-squares solution
    alone would shrink or stretch all of a network's weights where the fit is poor.
    """
    # In units of each profile's norm, for they span orders of magnitude.
    norms = np.array([overlap(each, each) ** 0.5 for each in known])
    products = np.array([[overlap(a, b) for b in known] for a in known]) / np.outer(norms, norms)
    sides = np.array([[overlap(each, wanted), 1.0] for each in known]) / norms[:, None]
    free, ones = (np.linalg.lstsq(products, sides, rcond=None)[0] / norms[:, None]).T
    weights = free + ones * (1 - free.sum()) / ones.sum()

    scaled = weights * norms
    own = overlap(wanted, wanted)
    square = own - 2 * scaled @ sides[:, 0] + scaled @ products @ scaled
    return Fit(weights, float(np.sqrt(max(0.0, square) / own)))
