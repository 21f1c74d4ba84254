"""Checks of the diffusion mathematics against closed forms, over any set of its modules.

`test_closed_forms.py` runs them on the real modules, `test_mutations.py` on modules with one
flipped coefficient. All in float64. The data is Gaussian wherever a denoiser is needed: its best
denoiser is known exactly.
"""

import math
from types import SimpleNamespace
from typing import Any

import torch
from sampler_closed_forms import (
    check_ancestral,
    check_ddim_noise,
    check_ends,
    check_inversion,
    check_multistep,
    check_orders,
)
from torch import Tensor


def check_schedules(d: SimpleNamespace) -> None:
    cosine = d.cosine_schedule(1000)

    def f(u: float) -> float:
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    for t in (0, 499, 900):
        assert math.isclose(float(cosine.alphas_cumprod[t]), f((t + 1) / 1000) / f(0), rel_tol=1e-9)
    assert float(cosine.betas.max()) == 0.999
    for shift in (-2.0, 1.5, 2 * math.log(64 / 1024)):
        # The last beta may meet its bound, so the last time may lag behind.
        pair = (cosine, d.cosine_schedule(1000, shift=shift))
        plain, moved = (torch.logit(s.alphas_cumprod[:-1]) for s in pair)
        assert (moved - plain - shift).abs().max() < 1e-9, shift
        assert float(pair[1].betas.max()) <= 0.999
    linear = d.linear_schedule(1000)
    assert math.isclose(float(linear.betas[0]), 1e-4)
    assert math.isclose(float(linear.betas[-1]), 2e-2)
    assert math.isclose(float(linear.alphas_cumprod[1]), (1 - 1e-4) * (1 - float(linear.betas[1])))
    short = d.linear_schedule(200)  # as much noise in a fifth of the steps
    assert math.isclose(float(short.betas[0]), 5e-4)
    assert -11 < math.log(float(short.alphas_cumprod[-1])) < -10
    assert d.respace(1000, 7) == (999, 832, 666, 500, 333, 166, 0)
    assert d.respace(1000, 1) == (999,)
    assert float(cosine.alpha_bar(-1)) == 1.0
    both = cosine.alpha_bar(torch.tensor([-1, 5]))
    assert both.tolist() == [1.0, float(cosine.alphas_cumprod[5])]


def check_conversions(d: SimpleNamespace) -> None:
    schedule = d.cosine_schedule(1000)
    generator = torch.Generator().manual_seed(0)
    x, eps = (torch.randn(3, 2, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    for t in (torch.tensor([0, 500, 998]), 321):
        ab = schedule.alphas_cumprod[t].reshape(-1, 1, 1) if isinstance(t, Tensor) else None
        ab = schedule.alphas_cumprod[t] if ab is None else ab
        x_t = d.q_sample(schedule, x, t, eps)
        assert (x_t - (ab.sqrt() * x + (1 - ab).sqrt() * eps)).abs().max() < 1e-12
        v = d.to_target(schedule, "v", x, eps, t)
        assert (v - (ab.sqrt() * eps - (1 - ab).sqrt() * x)).abs().max() < 1e-12
        assert d.to_target(schedule, "eps", x, eps, t) is eps
        assert d.to_target(schedule, "x_start", x, eps, t) is x
        for prediction, answer in (("eps", eps), ("x_start", x), ("v", v)):
            back = d.predict_x_start(schedule, prediction, answer, x_t, t)
            tolerance = 1e-12 if prediction != "eps" else 1e-12 / float(ab.sqrt().min())
            assert (back - x).abs().max() < tolerance, prediction
        assert (d.eps_from_x_start(schedule, x, x_t, t) - eps).abs().max() < 1e-11
        assert (d.snr(schedule, t).flatten() - (ab / (1 - ab)).flatten()).abs().max() < 1e-9


def check_posterior(d: SimpleNamespace) -> None:
    """Bayes' rule for two normal densities, by their precisions."""
    schedule = d.cosine_schedule(1000)
    x_0, x_t = torch.tensor([[0.3], [-1.2]]).double(), torch.tensor([[1.1], [0.4]]).double()
    for t, prev in ((500, 499), (500, 300), (20, 3)):
        ab, ab_prev = float(schedule.alphas_cumprod[t]), float(schedule.alphas_cumprod[prev])
        a = ab / ab_prev
        precision = 1 / (1 - ab_prev) + a / (1 - a)
        expected = (
            math.sqrt(ab_prev) * x_0 / (1 - ab_prev) + math.sqrt(a) * x_t / (1 - a)
        ) / precision
        for at, before in ((t, prev), (torch.full((2,), t), torch.full((2,), prev))):
            posterior = d.posterior_mean_variance(schedule, x_0, x_t, at, before)
            assert (posterior.mean - expected).abs().max() < 1e-10
            assert (posterior.variance.flatten() - 1 / precision).abs().max() < 1e-12
            assert (posterior.beta.flatten() - (1 - a)).abs().max() < 1e-12
    final = d.posterior_mean_variance(schedule, x_0, x_t, 0, -1)
    assert (final.mean - x_0).abs().max() < 1e-12
    assert float(final.variance) == 0


def check_denoiser(d: SimpleNamespace) -> None:
    schedule = d.cosine_schedule(1000)
    config = d.DiffusionConfig(prediction="eps", variance="learned_range", clip_x_start=0.5)
    x_t = torch.tensor([[[1.0, -0.2]]], dtype=torch.float64).reshape(1, 1, 2)
    raw = torch.tensor([[[0.3, 0.1], [0.9, -0.7]]], dtype=torch.float64)
    denoised = d.Denoiser(lambda x, t: raw, schedule, config)(x_t, 400)
    ab = float(schedule.alphas_cumprod[400])
    expected = ((x_t - math.sqrt(1 - ab) * raw[:, :1]) / math.sqrt(ab)).clamp(-0.5, 0.5)
    assert (denoised.x_start - expected).abs().max() < 1e-12
    assert float(denoised.x_start.max()) == 0.5
    assert torch.equal(denoised.variance_fraction, raw[:, 1:])


def check_guidance(d: SimpleNamespace) -> None:
    calls = []

    def cond(x: Tensor, t: int) -> Tensor:
        calls.append(("cond", len(x)))
        return torch.cat([x + 1, x * 0 + 7], dim=1)

    def both(x: Tensor, t: int) -> Tensor:
        calls.append(("both", len(x)))
        c, u = x.chunk(2)
        assert torch.equal(c, u)
        return torch.cat([torch.cat([c + 1, c * 0 + 7], 1), torch.cat([u - 2, u * 0 + 9], 1)])

    x = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    out = d.guide(cond, both, 2.5, channels=2)(x, 500)
    assert calls == [("both", 6)]
    assert torch.allclose(out[:, :2], (x - 2) + 2.5 * 3, atol=1e-6)
    assert (out[:, 2:] == 7).all()
    assert d.guide(cond, both, 1.0) is cond
    calls.clear()
    limited = d.guide(cond, both, 2.5, channels=2, interval=(0.2, 0.6))
    for t, expected in ((199, "cond"), (200, "both"), (600, "both"), (601, "cond")):
        limited(x, t)
        assert calls.pop()[0] == expected, t
    whole = d.guide(cond, both, 2.0)(x, 10)
    assert torch.allclose(whole[:, 2:], torch.full_like(whole[:, 2:], 9 + 2.0 * (7 - 9)))
    # Two coarse answers are combined in the sample's precision, not in their own.
    rows = torch.tensor([[1.0078125], [1.0]], dtype=torch.bfloat16)
    fine = d.guide(lambda x, t: rows[:1], lambda x, t: rows, 7.7)(torch.zeros(1, 1), 10)
    assert fine.dtype == torch.float32
    assert abs(float(fine) - (1 + 7.7 * 0.0078125)) < 1e-6


def check_losses(d: SimpleNamespace) -> None:
    schedule = d.cosine_schedule(1000)
    generator = torch.Generator().manual_seed(1)
    x_0, eps = (
        torch.randn(3, 2, 5, generator=generator, dtype=torch.float64).clamp(-1, 1) for _ in "ab"
    )
    error, fraction = (
        torch.randn(3, 2, 5, generator=generator, dtype=torch.float64) * 0.3 for _ in "ab"
    )
    x_0[0, 0, :2] = torch.tensor([-1.0, 1.0])  # black and white, whose levels have no end
    error[0, 0, 2:4] = torch.tensor([2.0, 3.0])  # grey levels that the model thinks unlikely
    t = torch.tensor([0, 30, 700])
    ab = schedule.alphas_cumprod[t]
    ratio = ab / (1 - ab)
    x_t = d.q_sample(schedule, x_0, t, eps)
    square = (error**2).mean((1, 2))
    # min(SNR, gamma) on the error of x_start, whatever the network answers.
    for prediction in ("eps", "x_start", "v"):
        answer = d.to_target(schedule, prediction, x_0, eps, t) + error
        plain = d.diffusion_loss(
            schedule, d.DiffusionConfig(prediction=prediction), answer, x_0, x_t, t, eps
        )
        assert (plain - square).abs().max() < 1e-10
        config = d.DiffusionConfig(prediction=prediction, min_snr_gamma=5.0)
        loss = d.diffusion_loss(schedule, config, answer, x_0, x_t, t, eps)
        implied = d.predict_x_start(schedule, prediction, answer, x_t, t) - x_0
        expected = ratio.clamp(max=5.0) * (implied**2).mean((1, 2))
        assert (loss / expected - 1).abs().max() < 1e-6, prediction
    check_bound(d, schedule, x_0, eps, error, fraction, t, x_t)
    short = d.cosine_schedule(750)  # the bound's weight is T / 1000
    check_bound(d, short, x_0, eps, error, fraction, t, d.q_sample(short, x_0, t, eps))


def check_bound(
    d: SimpleNamespace,
    schedule: Any,
    x_0: Tensor,
    eps: Tensor,
    error: Tensor,
    fraction: Tensor,
    t: Tensor,
    x_t: Tensor,
) -> None:
    """The learned variance's bound against torch.distributions, and that the mean gets no
    gradient."""
    answer = torch.cat([eps + error, fraction], dim=1).requires_grad_()
    config = d.DiffusionConfig(prediction="eps", variance="learned_range")
    loss = d.diffusion_loss(schedule, config, answer, x_0, x_t, t, eps)
    expected = []
    for row in range(3):
        at = int(t[row])
        ab = float(schedule.alphas_cumprod[at])
        ab_prev = float(schedule.alphas_cumprod[at - 1]) if at else 1.0
        beta = float(schedule.betas[at])
        floor = float(schedule.betas[1]) * (1 - float(schedule.alphas_cumprod[0]))
        floor /= 1 - float(schedule.alphas_cumprod[1])
        small = beta * (1 - ab_prev) / (1 - ab) if at else floor
        predicted = (x_t[row] - math.sqrt(1 - ab) * (eps + error)[row]) / math.sqrt(ab)

        def mean(start: Tensor, ab=ab, ab_prev=ab_prev, beta=beta, row=row) -> Tensor:
            noisy = math.sqrt(1 - beta) * (1 - ab_prev) * x_t[row]
            return (math.sqrt(ab_prev) * beta * start + noisy) / (1 - ab)

        share = (fraction[row] + 1) / 2
        std = (share * math.log(beta) + (1 - share) * math.log(small)).mul(0.5).exp()
        model = torch.distributions.Normal(mean(predicted), std)
        if at:
            true = torch.distributions.Normal(mean(x_0[row]), math.sqrt(small))
            bound = torch.distributions.kl_divergence(true, model).mean()
        else:
            half = 1 / 255
            above = torch.where(x_0[row] > 0.999, 1.0, model.cdf(x_0[row] + half))
            below = torch.where(x_0[row] < -0.999, 0.0, model.cdf(x_0[row] - half))
            bound = -(above - below).clamp(min=1e-12).log().mean()
        weight = schedule.num_timesteps / 1000
        expected.append((error[row] ** 2).mean() + weight * bound / math.log(2))
    assert (loss / torch.stack(expected) - 1).abs().max() < 1e-5
    (loss - (error**2).mean((1, 2))).sum().backward()
    assert answer.grad is not None
    simple = 2 * error / error[0].numel()
    assert (answer.grad[:, :2] - simple).abs().max() < 1e-9
    assert answer.grad[:, 2:].abs().min() > 0


# The quick ones first: a mutant is dropped at the first that fails.
CHECKS = (
    check_schedules,
    check_conversions,
    check_posterior,
    check_denoiser,
    check_guidance,
    check_losses,
    check_multistep,
    check_ancestral,
    check_ddim_noise,
    check_orders,
    check_inversion,
    check_ends,
)
