"""Power-function profiles against integrals, simulated averages, and SciPy's least squares."""

import math

import numpy as np
import pytest
from numpy.polynomial import Polynomial
from scipy.integrate import quad
from scipy.optimize import minimize

from unclip.training.profiles import LONGEST, Profile, decay_at, fit, gamma_of, overlap, std_of

STEPS = 400


def density(profile: Profile, tau: float) -> float:
    if not 0 <= tau <= profile.step:
        return 0.0
    return (profile.gamma + 1) * (tau / profile.step) ** profile.gamma / profile.step


def weights_of_steps(gamma: float, step: int) -> np.ndarray:
    """What each of the STEPS weighs in an average of a step, by running the average."""
    share = np.zeros(STEPS)
    for t in range(1, step + 1):
        share *= decay_at(gamma, t)
        share[t - 1] += 1 - decay_at(gamma, t)
    return share


@pytest.mark.parametrize("std", [0.001, 0.03, 0.05, 0.1, 0.2, LONGEST])
def test_the_length_is_the_profile_s_standard_deviation(std: float) -> None:
    profile = Profile(2.0, gamma_of(std))
    assert profile.gamma > 0
    assert std_of(profile.gamma) == pytest.approx(std)

    def moment(power: int) -> float:
        near = max(0.0, 2.0 - 100 * std)
        return quad(lambda x: x**power * density(profile, x), near, 2.0, limit=200)[0]

    assert moment(0) == pytest.approx(1, abs=1e-6)
    assert math.sqrt(moment(2) - moment(1) ** 2) == pytest.approx(2 * std, rel=1e-4)


def test_published_exponents() -> None:
    # Karras et al. 2024, section 3.1: 0.05 and 0.10 are gamma 16.97 and 6.94.
    assert [gamma_of(0.05), gamma_of(0.10)] == pytest.approx([16.97, 6.94], abs=0.005)
    # A decay of (1 + t) / (10 + t) is gamma 8 to the first order in 1 / t.
    assert 1 - decay_at(8.0, 10_000) == pytest.approx(9 / 10_000, rel=1e-3)


def test_overlaps_are_integrals() -> None:
    profiles = [Profile(3.0, 0.5), Profile(3.0, 7.0), Profile(1.0, 17.0), Profile(4.0, 2.0)]
    for a in profiles:
        for b in profiles:
            end = min(a.step, b.step)
            expected = quad(lambda x, a=a, b=b: density(a, x) * density(b, x), 0, end)[0]
            assert overlap(a, b) == pytest.approx(expected, rel=1e-8)
    far = overlap(Profile(1e6, 999.0), Profile(2e6, 999.0))  # 2^-999, and t^1000 in between
    assert 0 <= far < 1e-300


def test_a_track_is_found_again() -> None:
    known = [Profile(t, gamma_of(std)) for std in (0.05, 0.1) for t in (100.0, 200.0, 300.0)]
    for index, profile in enumerate(known):
        found = fit(known, profile)
        assert np.allclose(found.weights, np.eye(6)[index], atol=1e-6)
        assert found.error < 1e-6


@pytest.mark.parametrize(("std", "most"), [(0.06, 0.004), (0.08, 0.004), (0.15, 0.01), (0.2, 0.03)])
def test_a_simulated_average_is_made_of_others(std: float, most: float) -> None:
    """Sixteen snapshots of two tracks give, step by step, what a third track would have kept."""
    at = [(std_, STEPS * k // 16) for std_ in (0.05, 0.1) for k in range(1, 17)]
    found = fit(
        [Profile(float(t), gamma_of(s)) for s, t in at], Profile(float(STEPS), gamma_of(std))
    )
    made = sum(
        w * weights_of_steps(gamma_of(s), t) for w, (s, t) in zip(found.weights, at, strict=True)
    )
    truth = weights_of_steps(gamma_of(std), STEPS)
    assert found.error < most
    assert np.linalg.norm(made - truth) / np.linalg.norm(truth) == pytest.approx(
        found.error, abs=0.003
    )
    assert np.linalg.norm(found.weights) < 1.1  # float16's rounding of snapshots does not grow


def test_it_is_the_least_squares_of_all_sums_that_are_means() -> None:
    known = [Profile(t, g) for t in (0.4, 0.7, 1.0) for g in (3.0, 9.0)]
    wanted = Profile(1.0, 5.0)
    # Profiles of whole exponents are polynomials, integrated piece by piece.
    grid = np.linspace(0, 1, 20_001)
    middle = (grid[1:] + grid[:-1]) / 2
    rows = np.array([[density(p, x) for x in middle] for p in (*known, wanted)])

    def distance(x: np.ndarray) -> float:
        return float(((x @ rows[:-1] - rows[-1]) ** 2).mean())

    mean = {"type": "eq", "fun": lambda x: x.sum() - 1}
    best = minimize(distance, np.full(6, 1 / 6), constraints=mean, tol=1e-14)
    found = fit(known, wanted)
    assert found.weights.sum() == pytest.approx(1, abs=1e-12)
    assert distance(found.weights) <= best.fun * (1 + 1e-3)
    own = Polynomial([0] * 10 + [36]).integ()(1.0)  # (6 x^5)^2
    assert found.error == pytest.approx(math.sqrt(distance(found.weights) / own), rel=1e-2)
