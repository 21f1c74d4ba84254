"""Flips signs, coefficients and indices of the diffusion mathematics: the closed forms catch every
one."""

from collections.abc import Callable
from types import SimpleNamespace

import closed_forms
import pytest

MUTATIONS = [
    ("schedules", "math.pi / 2) ** 2", "math.pi / 2)"),
    ("schedules", "/ 1.008", "/ 1.08"),
    ("schedules", ") + shift)", ") - shift)"),
    ("schedules", "1 - shifted / before", "1 - before / shifted"),
    ("schedules", "shifted[:-1]]", "shifted[1:]]"),
    ("schedules", "alpha_bar(end) / alpha_bar(start)", "alpha_bar(start) / alpha_bar(end)"),
    ("schedules", "(betas, torch.cumprod(1 - betas, 0))", "(betas, torch.cumprod(1 - betas / 2, 0))"),
    ("schedules", "(num_timesteps - 1) / (num_steps - 1)", "num_timesteps / num_steps"),
    ("gaussian", "signal * x_start + noise * eps", "signal * x_start - noise * eps"),
    ("gaussian", "(x_t - noise * output) / signal", "(x_t - noise * output) * signal"),
    ("gaussian", "signal * x_t - noise * output", "signal * x_t + noise * output"),
    ("gaussian", "(x_t - signal * x_start) / noise", "(x_t - x_start) / noise"),
    ("gaussian", "signal * eps - noise * x_start", "noise * eps - signal * x_start"),
    ("gaussian", "alpha_bar / (1 - alpha_bar)\n", "alpha_bar / (2 - alpha_bar)\n"),
    ("gaussian", "alpha_bar_prev.sqrt() * beta / (1 - alpha_bar)", "alpha_bar_prev * beta / (1 - alpha_bar)"),
    ("gaussian", "(1 - beta).sqrt() * (1 - alpha_bar_prev)", "(1 - beta) * (1 - alpha_bar_prev)"),
    ("gaussian", "(1 - alpha_bar_prev) / (1 - alpha_bar) * beta", "(1 - alpha_bar) / (1 - alpha_bar_prev) * beta"),
    ("gaussian", "_like(from_start, x_t) * x_start + _like(from_x_t, x_t) * x_t", "_like(from_x_t, x_t) * x_start + _like(from_start, x_t) * x_t"),
    ("gaussian", "1 - schedule.alpha_bar(t) / schedule.alpha_bar(prev_t)", "1 - schedule.alpha_bar(t)"),
    ("gaussian", "_like((1 - alpha_bar).sqrt(), x)", "_like(1 - alpha_bar, x)"),
    ("denoiser", "x_start.clamp(-bound, bound)", "x_start.clamp(-bound, 2 * bound)"),
    ("denoiser", "output, fraction = output.split", "fraction, output = output.split"),
    ("guidance", "u + scale * (c - u)", "c + scale * (c - u)"),
    ("guidance", "u + scale * (c - u)", "u - scale * (c - u)"),
    ("guidance", "conditional, unconditional = both", "unconditional, conditional = both"),
    ("guidance", "conditional[:, channels:]], dim=1", "unconditional[:, channels:]], dim=1"),
    ("guidance", "<= interval[1]", "< interval[1]"),
    ("guidance", "not interval[0] <=", "not interval[0] <"),
    ("guidance", "not interval[0]", "interval[0]"),
    ("guidance", ".to(x.dtype).chunk(2)", ".chunk(2)"),
    ("samplers", "x = mean + std * _draw", "x = mean + std**2 * _draw"),
    ("samplers", "if prev_t >= 0:\n            std", "if prev_t > 0:\n            std"),
    ("samplers", "(denoised.variance_fraction + 1) / 2", "(denoised.variance_fraction + 1)"),
    ("samplers", "fraction * beta.log().to(like.dtype) + (1 - fraction) * log_variance", "(1 - fraction) * beta.log().to(like.dtype) + fraction * log_variance"),
    ("samplers", "(1 - alpha_bar_prev - sigma**2)", "(1 - alpha_bar_prev)"),
    ("samplers", "sigma = eta * variance.sqrt()", "sigma = eta * variance"),
    ("samplers", "(1 - alpha_bar / alpha_bar_prev)", "(1 - alpha_bar_prev / alpha_bar)"),
    ("samplers", "/ (2 * ratio)", "/ ratio"),
    ("samplers", "(x_start - previous[0])", "(previous[0] - x_start)"),
    ("samplers", "ratio = previous[1] / h", "ratio = h / previous[1]"),
    ("samplers", "torch.expm1(-h)", "torch.expm1(-2 * h)"),
    ("samplers", "((1 - alpha_bar_prev) / (1 - alpha_bar)).sqrt()", "((1 - alpha_bar_prev) / (1 - alpha_bar))"),
    ("samplers", "times[index + 1] if index + 1 < len(times) else -1", "times[index + 1] if index + 1 < len(times) else 0"),
    ("inversion", "(1 - alpha_bar).sqrt().to(x.dtype) * eps", "(1 - alpha_bar).to(x.dtype) * eps"),
    ("inversion", "ascending = [-1, *reversed(times)]", "ascending = [-1, *reversed(times[:-1])]"),
    ("inversion", "max(t, ascending[1])", "max(t, ascending[2])"),
    ("inversion", "predicted = x\n", "predicted = 2 * x\n"),
    ("inversion", "if t < 0:", "if t <= 0:"),
    ("inversion", "denoiser(x, at)", "denoiser(x, next_t)"),
    ("losses", "bound * (schedule.num_timesteps / 1000)", "bound / (schedule.num_timesteps / 1000)"),
    ("losses", "true_log = floor.", "true_log = true."),
    ("losses", "capped / (ratio if prediction == \"eps\" else ratio + 1)", "capped / (ratio + 1)"),
    ("losses", "capped / (ratio if prediction == \"eps\" else ratio + 1)", "capped / ratio"),
    ("losses", "output.detach(), x_t", "output, x_t"),
    ("losses", "mix * true.beta.log().to(x_t) + (1 - mix) * true_log", "mix * true_log + (1 - mix) * true.beta.log().to(x_t)"),
    ("losses", "+ spread + distance - 1", "+ spread + distance"),
    ("losses", "/ math.log(2)", "* math.log(2)"),
    ("losses", "torch.where(t == 0, likelihood, kl)", "torch.where(t == 1, likelihood, kl)"),
    ("losses", ".clamp(min=1e-12)", ".clamp(min=0.1)"),
    ("losses", "x > 0.999", "x > 9.99"),
    ("losses", "x < -0.999", "x < -9.99"),
    ("losses", "PIXEL_HALF_WIDTH = 1 / 255", "PIXEL_HALF_WIDTH = 1 / 510"),
]  # fmt: skip


@pytest.mark.parametrize(("module", "old", "new"), MUTATIONS)
def test_every_flip_is_caught(
    module: str,
    old: str,
    new: str,
    modules: Callable[..., SimpleNamespace],
    source: Callable[[str], str],
) -> None:
    text = source(module)
    assert text.count(old) == 1, "the mutation no longer fits the source: renew it"
    mutant = modules({module: text.replace(old, new)})
    # A check must see wrong numbers: a mutant that cannot run proves nothing and fails here.
    for check in closed_forms.CHECKS:
        try:
            check(mutant)
        except AssertionError:
            return
    pytest.fail(f"{module}: {old!r} -> {new!r} survived")
