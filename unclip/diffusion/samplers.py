"""Samplers: pure functions over a denoiser and a list of times, from noise to a clean sample.

Ancestral: Ho et al. 2020 (arXiv 2006.11239, alg. 2), learned variance: Nichol & Dhariwal 2021
(arXiv 2102.09672, eq. 15). DDIM: Song et al. 2021 (arXiv 2010.02502, eq. 12). DPM-Solver++(2M): Lu
et al. 2022 (arXiv 2211.01095, alg. 2). The sample is kept in the precision it comes in (float32).
Coefficients are computed on the CPU: nothing in a loop waits for the device.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from unclip.diffusion.denoiser import Denoised, Denoiser
from unclip.diffusion.gaussian import eps_from_x_start, posterior_mean_variance
from unclip.diffusion.noise import Noise
from unclip.diffusion.schedules import Schedule

TINY_VARIANCE = 1e-20


@dataclass(frozen=True)
class Step:
    """What a callback sees after each step."""

    index: int
    total: int
    t: int
    x_t: Tensor
    x_start: Tensor


Callback = Callable[[Step], Tensor | None]
"""For progress, preview and cancelling: a returned tensor replaces the sample; raising stops."""


def sample_ddpm(
    denoiser: Denoiser,
    x: Float[Tensor, "batch ..."],
    times: Sequence[int],
    noise: Noise,
    *,
    callback: Callback | None = None,
) -> Float[Tensor, "batch ..."]:
    """Draws each step from the posterior, with its own variance or the learned one."""
    for index, t, prev_t in _steps(times):
        denoised = denoiser(x, t)
        mean, variance, beta = posterior_mean_variance(
            denoiser.schedule, denoised.x_start, x, t, prev_t
        )
        x = mean
        if prev_t >= 0:
            std = _ancestral_std(variance, beta, denoised, mean)
            x = mean + std * _draw(noise, x)
        x = report(callback, Step(index, len(times), t, x, denoised.x_start))
    return x


def _ancestral_std(variance: Tensor, beta: Tensor, denoised: Denoised, like: Tensor) -> Tensor:
    log_variance = variance.clamp(min=TINY_VARIANCE).log().to(like.dtype)
    if denoised.variance_fraction is None:
        return (0.5 * log_variance).exp()
    fraction = (denoised.variance_fraction + 1) / 2
    log_variance = fraction * beta.log().to(like.dtype) + (1 - fraction) * log_variance
    return (0.5 * log_variance).exp()


def sample_ddim(
    denoiser: Denoiser,
    x: Float[Tensor, "batch ..."],
    times: Sequence[int],
    noise: Noise,
    *,
    eta: float = 0.0,
    callback: Callback | None = None,
) -> Float[Tensor, "batch ..."]:
    """Moves along the probability flow; `eta` 0 draws nothing, 1 has the posterior's variance."""
    schedule = denoiser.schedule
    for index, t, prev_t in _steps(times):
        x_start = denoiser(x, t).x_start
        eps = eps_from_x_start(schedule, x_start, x, t)
        alpha_bar, alpha_bar_prev = schedule.alpha_bar(t), schedule.alpha_bar(prev_t)
        variance = (1 - alpha_bar_prev) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_prev)
        sigma = eta * variance.sqrt()
        direction = (1 - alpha_bar_prev - sigma**2).clamp(min=0).sqrt()
        x = alpha_bar_prev.sqrt().to(x.dtype) * x_start + direction.to(x.dtype) * eps
        if eta and prev_t >= 0:
            x = x + sigma.to(x.dtype) * _draw(noise, x)
        x = report(callback, Step(index, len(times), t, x, x_start))
    return x


def sample_dpmpp_2m(
    denoiser: Denoiser,
    x: Float[Tensor, "batch ..."],
    times: Sequence[int],
    *,
    callback: Callback | None = None,
) -> Float[Tensor, "batch ..."]:
    """Second-order multistep solver in half the log signal-to-noise ratio; deterministic.

    The first step is of first order, and so is the last, to the clean sample, where the solution is
    the predicted x_start itself.
    """
    schedule = denoiser.schedule
    previous: tuple[Tensor, Tensor] | None = None  # x_start and log-SNR step of the step before
    for index, t, prev_t in _steps(times):
        x_start = denoiser(x, t).x_start
        if prev_t < 0:
            x = x_start
        else:
            h = _half_log_snr(schedule, prev_t) - _half_log_snr(schedule, t)
            estimate = x_start
            if previous is not None:
                ratio = previous[1] / h
                estimate = x_start + ((x_start - previous[0]) / (2 * ratio)).to(x.dtype)
            alpha_bar, alpha_bar_prev = schedule.alpha_bar(t), schedule.alpha_bar(prev_t)
            shrink = ((1 - alpha_bar_prev) / (1 - alpha_bar)).sqrt()
            gain = -alpha_bar_prev.sqrt() * torch.expm1(-h)
            x = shrink.to(x.dtype) * x + gain.to(x.dtype) * estimate
            previous = (x_start, h)
        x = report(callback, Step(index, len(times), t, x, x_start))
    return x


def _draw(noise: Noise, x: Tensor) -> Tensor:
    # A blocking copy would wait for all that the device has still to do.
    return noise(x.shape[1:]).to(x.device, x.dtype, non_blocking=x.is_cuda)


def _half_log_snr(schedule: Schedule, t: int) -> Tensor:
    """lambda = log(sqrt(ab) / sqrt(1 - ab))."""
    alpha_bar = schedule.alpha_bar(t)
    return 0.5 * (alpha_bar / (1 - alpha_bar)).log()


def _steps(times: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Index, time, and the time to go to; after the last time comes -1, the clean sample."""
    for index, t in enumerate(times):
        yield index, t, times[index + 1] if index + 1 < len(times) else -1


def report(callback: Callback | None, step: Step) -> Tensor:
    """Tells the callback of a step; returns the sample to go on with."""
    replacement = callback(step) if callback is not None else None
    return step.x_t if replacement is None else replacement
