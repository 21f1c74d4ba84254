"""Training losses: mean squared error on the network's target, min-SNR weights, learned
variance."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unclip.diffusion.gaussian import posterior_mean_variance, predict_x_start, snr, to_target
from unclip.diffusion.samplers import TINY_VARIANCE
from unclip.diffusion.schedules import DiffusionConfig, Prediction, Schedule

PIXEL_HALF_WIDTH = 1 / 255
"""Half the distance between two grey levels of a picture in [-1, 1]."""


def diffusion_loss(
    schedule: Schedule,
    config: DiffusionConfig,
    output: Float[Tensor, "batch ..."],
    x_start: Float[Tensor, "batch ..."],
    x_t: Float[Tensor, "batch ..."],
    t: Int[Tensor, " batch"],
    eps: Float[Tensor, "batch ..."],
) -> Float[Tensor, " batch"]:
    """Scores a network's answer, a mean over all but the batch.

    With a learned variance the variational bound is added on a mean that passes no gradient,
    times T / 1000 (Nichol & Dhariwal 2021, arXiv 2102.09672, section 3.1).
    """
    fraction = None
    if config.variance == "learned_range":
        output, fraction = output.split(x_start.shape[1], dim=1)
    target = to_target(schedule, config.prediction, x_start, eps, t)
    loss = _mean((output - target) ** 2)
    if config.min_snr_gamma is not None:
        weight = min_snr_weight(snr(schedule, t), config.prediction, config.min_snr_gamma)
        loss = loss * weight.to(loss)
    if fraction is not None:
        predicted = predict_x_start(schedule, config.prediction, output.detach(), x_t, t)
        bound = variational_bound(schedule, predicted, fraction, x_start, x_t, t)
        loss = loss + bound * (schedule.num_timesteps / 1000)
    return loss


def min_snr_weight(ratio: Tensor, prediction: Prediction, gamma: float) -> Tensor:
    """min(SNR, gamma) on x_start's error, written for the network's own target (arXiv
    2303.09556)."""
    capped = ratio.clamp(max=gamma)
    if prediction == "x_start":
        return capped
    return capped / (ratio if prediction == "eps" else ratio + 1)


def variational_bound(
    schedule: Schedule,
    predicted: Float[Tensor, "batch ..."],
    fraction: Float[Tensor, "batch ..."],
    x_start: Float[Tensor, "batch ..."],
    x_t: Float[Tensor, "batch ..."],
    t: Int[Tensor, " batch"],
) -> Float[Tensor, " batch"]:
    """One term of the bound, in bits a dimension: KL for t > 0, the picture's likelihood at t =
    0."""
    true = posterior_mean_variance(schedule, x_start, x_t, t, t - 1)
    model_mean = posterior_mean_variance(schedule, predicted, x_t, t, t - 1).mean
    # At t = 0 the posterior has no variance: the one of t = 1 stands in (as guided-diffusion does).
    floor = posterior_mean_variance(schedule, x_start, x_t, t.clamp(min=1), t.clamp(min=1) - 1)
    true_log = floor.variance.clamp(min=TINY_VARIANCE).log().to(x_t)
    mix = (fraction + 1) / 2
    model_log = mix * true.beta.log().to(x_t) + (1 - mix) * true_log
    kl = _mean(normal_kl(true.mean, true_log, model_mean, model_log))
    likelihood = _mean(-discretised_log_likelihood(x_start, model_mean, 0.5 * model_log))
    return torch.where(t == 0, likelihood, kl) / math.log(2)


def normal_kl(
    mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor
) -> Tensor:
    """KL divergence between two normal distributions, elementwise, in nats."""
    spread = torch.exp(log_variance - other_log_variance)
    distance = (mean - other_mean) ** 2 * torch.exp(-other_log_variance)
    return 0.5 * (other_log_variance - log_variance + spread + distance - 1)


def discretised_log_likelihood(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log-probability of the grey level of x in [-1, 1] under a normal distribution, elementwise.

    The darkest and lightest levels reach to infinity (Ho et al. 2020, eq. 13).
    """
    scale = torch.exp(-log_std)
    above = normal_cdf((x + PIXEL_HALF_WIDTH - mean) * scale)
    below = normal_cdf((x - PIXEL_HALF_WIDTH - mean) * scale)
    above = torch.where(x > 0.999, torch.ones_like(above), above)
    below = torch.where(x < -0.999, torch.zeros_like(below), below)
    return (above - below).clamp(min=1e-12).log()


def normal_cdf(x: Tensor) -> Tensor:
    """The standard normal distribution function."""
    return 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def _mean(x: Tensor) -> Tensor:
    return x.flatten(1).mean(1)
