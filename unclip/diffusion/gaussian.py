"""The Gaussian process: noising, conversions between what networks predict, the posterior.

Notation of Ho et al. 2020 (arXiv 2006.11239): x_t = sqrt(ab) x_0 + sqrt(1 - ab) eps. v is Salimans
& Ho 2022 (arXiv 2202.00512): v = sqrt(ab) eps - sqrt(1 - ab) x_0. A time is an int or a row of
ints. Coefficients keep the schedule's precision and are rounded once, when they meet the sample.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unclip.diffusion.schedules import Prediction, Schedule

Time = int | Int[Tensor, " batch"]


def q_sample(
    schedule: Schedule,
    x_start: Float[Tensor, "batch ..."],
    t: Time,
    eps: Float[Tensor, "batch ..."],
) -> Float[Tensor, "batch ..."]:
    """Noises x_start to time t (eq. 4)."""
    signal, noise = _roots(schedule, t, x_start)
    return signal * x_start + noise * eps


def predict_x_start(
    schedule: Schedule,
    prediction: Prediction,
    output: Float[Tensor, "batch ..."],
    x_t: Float[Tensor, "batch ..."],
    t: Time,
) -> Float[Tensor, "batch ..."]:
    """Turns a network's answer into the clean sample it implies."""
    if prediction == "x_start":
        return output
    return x_start_of(prediction, output, x_t, *_roots(schedule, t, x_t))


def x_start_of(
    prediction: Prediction, output: Tensor, x_t: Tensor, signal: Tensor, noise: Tensor
) -> Tensor:
    """Turns a network's answer into x_start; `signal` is sqrt(ab), `noise` is sqrt(1 - ab)."""
    if prediction == "x_start":
        return output
    if prediction == "eps":
        return (x_t - noise * output) / signal
    return signal * x_t - noise * output


def eps_from_x_start(
    schedule: Schedule,
    x_start: Float[Tensor, "batch ..."],
    x_t: Float[Tensor, "batch ..."],
    t: Time,
) -> Float[Tensor, "batch ..."]:
    """Returns the noise that lies between x_start and x_t."""
    signal, noise = _roots(schedule, t, x_t)
    return (x_t - signal * x_start) / noise


def to_target(
    schedule: Schedule,
    prediction: Prediction,
    x_start: Float[Tensor, "batch ..."],
    eps: Float[Tensor, "batch ..."],
    t: Time,
) -> Float[Tensor, "batch ..."]:
    """Returns what a network should answer."""
    if prediction == "x_start":
        return x_start
    if prediction == "eps":
        return eps
    signal, noise = _roots(schedule, t, x_start)
    return signal * eps - noise * x_start


def snr(schedule: Schedule, t: Time) -> Tensor:
    """Signal-to-noise ratio ab / (1 - ab)."""
    alpha_bar = schedule.alpha_bar(t)
    return alpha_bar / (1 - alpha_bar)


class Posterior(NamedTuple):
    """q(x_prev | x_t, x_start), and the variance of q(x_t | x_prev)."""

    mean: Tensor
    variance: Tensor
    beta: Tensor


def posterior_mean_variance(
    schedule: Schedule,
    x_start: Float[Tensor, "batch ..."],
    x_t: Float[Tensor, "batch ..."],
    t: Time,
    prev_t: Time,
) -> Posterior:
    """Computes the posterior of the step from t to an earlier time (eqs. 6 and 7, respaced).

    The variances have the schedule's precision and broadcast against the sample.
    """
    alpha_bar, alpha_bar_prev = schedule.alpha_bar(t), schedule.alpha_bar(prev_t)
    beta = _step_beta(schedule, t, prev_t)
    from_start = alpha_bar_prev.sqrt() * beta / (1 - alpha_bar)
    from_x_t = (1 - beta).sqrt() * (1 - alpha_bar_prev) / (1 - alpha_bar)
    variance = (1 - alpha_bar_prev) / (1 - alpha_bar) * beta
    mean = _like(from_start, x_t) * x_start + _like(from_x_t, x_t) * x_t
    return Posterior(mean, _shaped(variance, x_t), _shaped(beta, x_t))


def _step_beta(schedule: Schedule, t: Time, prev_t: Time) -> Tensor:
    """Noise of the step from prev_t to t; the table's own value for neighbours, as diffusers."""
    respaced = 1 - schedule.alpha_bar(t) / schedule.alpha_bar(prev_t)
    if isinstance(t, int) and isinstance(prev_t, int):
        return schedule.betas[t] if prev_t == t - 1 else respaced
    times = torch.as_tensor(t)
    return torch.where(
        times - 1 == torch.as_tensor(prev_t), schedule.betas.to(times.device)[times], respaced
    )


def _roots(schedule: Schedule, t: Time, x: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(ab) and sqrt(1 - ab), shaped and rounded to meet x."""
    alpha_bar = schedule.alpha_bar(t)
    return _like(alpha_bar.sqrt(), x), _like((1 - alpha_bar).sqrt(), x)


def _like(coefficient: Tensor, x: Tensor) -> Tensor:
    # A zero-dimensional CPU tensor multiplies a tensor on any device without a copy.
    coefficient = _shaped(coefficient, x)
    return coefficient.to(x.dtype) if coefficient.ndim == 0 else coefficient.to(x)


def _shaped(coefficient: Tensor, x: Tensor) -> Tensor:
    return coefficient if coefficient.ndim == 0 else coefficient.view(-1, *[1] * (x.ndim - 1))
