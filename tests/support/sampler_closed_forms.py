"""The samplers and the inversion against closed forms; run from `closed_forms.py`."""

import itertools
import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

MEAN, STD = 0.7, 0.5


def gaussian_network(d: SimpleNamespace, schedule: Any, mean: Tensor, std: float) -> Callable:
    """The exact answer (as x_start) for data N(mean, std^2): the posterior mean of x_0 given
    x_t."""

    def network(x: Tensor, t: int) -> Tensor:
        ab = float(schedule.alphas_cumprod[t])
        gain = math.sqrt(ab) * std**2 / (ab * std**2 + 1 - ab)
        return mean + gain * (x - math.sqrt(ab) * mean)

    return network


def gaussian_denoiser(d: SimpleNamespace, schedule: Any, std: float = STD, **config: Any) -> Any:
    network = gaussian_network(d, schedule, torch.tensor(MEAN, dtype=torch.float64), std)
    settings = d.DiffusionConfig(prediction="x_start", **config)
    return d.Denoiser(network, schedule, settings)


class FixedNoise:
    """Repeats given draws."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __call__(self, shape: Sequence[int]) -> Tensor:
        assert tuple(shape) == tuple(self.rows.shape[1:])
        return self.rows

    def fork(self, label: str) -> "FixedNoise":
        return self


def flow_end(schedule: Any, x: Tensor, t: int) -> Tensor:
    """Where the probability flow takes x: it keeps the standardised coordinate."""
    ab = float(schedule.alphas_cumprod[t])
    spread = math.sqrt(ab * STD**2 + 1 - ab)
    return MEAN + STD * (x - math.sqrt(ab) * MEAN) / spread


def check_orders(d: SimpleNamespace) -> None:
    """Halving the steps' size divides the error by 2 (DDIM) and by 4 (DPM-Solver++ 2M)."""
    schedule = d.cosine_schedule(4000)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    first, last = 3600, 400
    ends = {}
    for name, order in (("ddim", 1), ("dpmpp", 2)):
        errors = []
        for steps in (10, 20, 40, 80):
            times = tuple(round(first - i * (first - last) / steps) for i in range(steps + 1))
            seen = []

            def keep(step: Any, seen: list = seen) -> None:
                seen.append(step.x_t)

            denoiser = gaussian_denoiser(d, schedule)
            if name == "ddim":
                d.sample_ddim(denoiser, x, times, FixedNoise(x), callback=keep)
            else:
                d.sample_dpmpp_2m(denoiser, x, times, callback=keep)
            # The flow from the first time to the last, before the final step.
            ab = float(schedule.alphas_cumprod[times[-1]])
            standard = (flow_end(schedule, x, first) - MEAN) / STD
            exact = math.sqrt(ab) * MEAN + math.sqrt(ab * STD**2 + 1 - ab) * standard
            errors.append(float((seen[-2] - exact).abs().max()))
        slopes = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
        assert abs(slopes[-1] - order) < 0.25, (name, slopes)
        ends[name] = errors
    assert ends["dpmpp"][-1] < ends["ddim"][-1] / 10


def check_multistep(d: SimpleNamespace) -> None:
    """DPM-Solver++(2M) on uneven times, against the formula written out (arXiv 2211.01095, alg.
    2)."""
    schedule = d.cosine_schedule(1000)
    times = (950, 900, 600, 550, 100, 90, 0)
    network = gaussian_network(d, schedule, torch.tensor(MEAN, dtype=torch.float64), STD)
    x = start = torch.tensor([[1.5], [-0.4]], dtype=torch.float64)

    def lam(t: int) -> float:
        ab = float(schedule.alphas_cumprod[t])
        return 0.5 * math.log(ab / (1 - ab))

    before, h_before = None, 0.0
    for t, prev in itertools.pairwise(times):
        x_0, h = network(x, t), lam(prev) - lam(t)
        r = h_before / h
        mixed = x_0 if before is None else (1 + 1 / (2 * r)) * x_0 - before / (2 * r)
        ab, ab_prev = (float(schedule.alphas_cumprod[i]) for i in (t, prev))
        x = math.sqrt((1 - ab_prev) / (1 - ab)) * x - math.sqrt(ab_prev) * math.expm1(-h) * mixed
        before, h_before = x_0, h
    sampled = d.sample_dpmpp_2m(gaussian_denoiser(d, schedule), start, times)
    assert (sampled - network(x, 0)).abs().max() < 1e-10


def check_ends(d: SimpleNamespace) -> None:
    """With many steps every deterministic sampler reaches the end of the probability flow."""
    schedule = d.cosine_schedule(1000)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    exact = flow_end(schedule, x, 999)
    times = d.respace(1000, 500)
    ddim = d.sample_ddim(gaussian_denoiser(d, schedule), x, times, FixedNoise(x))
    dpmpp = d.sample_dpmpp_2m(gaussian_denoiser(d, schedule), x, times)
    assert (ddim - exact).abs().max() < 0.01
    assert (dpmpp - exact).abs().max() < 0.02


def check_ancestral(d: SimpleNamespace) -> None:
    """Every ancestral step is affine: x' = a x + b + s z, so it can be followed exactly."""
    schedule = d.cosine_schedule(1000)
    times = d.respace(1000, 20)
    z = torch.tensor([[0.8], [-0.3]], dtype=torch.float64)
    start = torch.tensor([[1.5], [-0.5]], dtype=torch.float64)
    for variance, fraction in (("fixed_small", None), ("learned_range", 0.4)):
        network = gaussian_network(d, schedule, torch.tensor(MEAN, dtype=torch.float64), STD)

        def answer(x: Tensor, t: int, network=network, fraction=fraction) -> Tensor:
            mean = network(x, t)
            return (
                mean if fraction is None else torch.cat([mean, torch.full_like(mean, fraction)], 1)
            )

        config = d.DiffusionConfig(prediction="x_start", variance=variance)
        sampled = d.sample_ddpm(d.Denoiser(answer, schedule, config), start, times, FixedNoise(z))
        x = start
        for i, t in enumerate(times):
            prev = times[i + 1] if i + 1 < len(times) else -1
            ab = float(schedule.alphas_cumprod[t])
            ab_prev = float(schedule.alphas_cumprod[prev]) if prev >= 0 else 1.0
            beta = float(schedule.betas[t]) if prev == t - 1 else 1 - ab / ab_prev
            x_0 = network(x, t)
            small = (1 - ab_prev) / (1 - ab) * beta
            x = (math.sqrt(ab_prev) * beta * x_0 + math.sqrt(1 - beta) * (1 - ab_prev) * x) / (
                1 - ab
            )
            if prev >= 0:
                share = 0.0 if fraction is None else (fraction + 1) / 2
                x = x + math.sqrt(beta**share * small ** (1 - share)) * z
        assert (sampled - x).abs().max() < 1e-10, variance


def check_ddim_noise(d: SimpleNamespace) -> None:
    """DDIM with eta 1 is ancestral sampling: same mean, same (posterior) variance."""
    schedule = d.cosine_schedule(1000)
    times = d.respace(1000, 12)
    generator = torch.Generator().manual_seed(0)
    x, z = (torch.randn(4, 2, generator=generator, dtype=torch.float64) for _ in range(2))
    denoiser = gaussian_denoiser(d, schedule)
    ddim = d.sample_ddim(denoiser, x, times, FixedNoise(z), eta=1.0)
    ddpm = d.sample_ddpm(denoiser, x, times, FixedNoise(z))
    assert (ddim - ddpm).abs().max() < 1e-8
    half = d.sample_ddim(denoiser, x, times, FixedNoise(z), eta=0.5)
    assert (half - ddpm).abs().max() > 1e-3


def check_inversion(d: SimpleNamespace) -> None:
    """Inverting and sampling again returns the start, the better the more steps."""
    schedule = d.cosine_schedule(1000)
    denoiser = gaussian_denoiser(d, schedule)
    x = torch.linspace(-0.5, 2, 6, dtype=torch.float64)[:, None]
    errors = []
    for steps in (50, 100, 500, 1000):
        times = d.respace(1000, steps)
        back = d.sample_ddim(denoiser, d.invert_ddim(denoiser, x, times), times, FixedNoise(x))
        errors.append(float((back - x).abs().max()))
    assert errors[-1] < 5e-3, errors
    for fewer, more in ((0, 1), (2, 3)):  # first order: half the step, half the error
        assert 1.8 < errors[fewer] / errors[more] < 2.2, errors
    for least in (10, 0):
        check_inversion_steps(d, schedule, x, least)
    # And the noise it finds is the probability flow's.
    top = d.invert_ddim(denoiser, x, d.respace(1000, 1000))
    ab = float(schedule.alphas_cumprod[-1])
    exact = math.sqrt(ab) * MEAN + math.sqrt(ab * STD**2 + 1 - ab) * (x - MEAN) / STD
    assert (top - exact).abs().max() < 0.02


def check_inversion_steps(d: SimpleNamespace, schedule: Any, x: Tensor, least: int) -> None:
    """Three uneven steps written out; each asks at the time it leaves, the first at the least
    noisy one."""
    network = gaussian_network(d, schedule, torch.tensor(MEAN, dtype=torch.float64), STD)
    bar = {t: float(schedule.alphas_cumprod[t]) for t in (least, 300, 600)}
    expected = []
    noisy = x
    for at, to in ((least, least), (least, 300), (300, 600)):
        predicted = network(noisy, at)
        eps = (noisy - math.sqrt(bar[at]) * predicted) / math.sqrt(1 - bar[at])
        kept = predicted if expected else x  # the picture itself is known at the start
        noisy = math.sqrt(bar[to]) * kept + math.sqrt(1 - bar[to]) * eps
        expected.append((to, noisy))
    seen: list[Any] = []
    top = d.invert_ddim(gaussian_denoiser(d, schedule), x, (600, 300, least), callback=seen.append)
    assert [step.t for step in seen] == [least, 300, 600]
    assert torch.equal(top, seen[-1].x_t)
    for step, (_, exact) in zip(seen, expected, strict=True):
        assert (step.x_t - exact).abs().max() < 1e-12, step.t
