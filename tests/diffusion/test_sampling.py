"""Noise sources, callbacks, schedules' properties, and what the samplers keep to."""

import pytest
import torch

from unclip.diffusion.denoiser import Denoiser
from unclip.diffusion.gaussian import posterior_mean_variance
from unclip.diffusion.guidance import guide
from unclip.diffusion.inversion import invert_ddim
from unclip.diffusion.noise import GeneratorNoise, Noise, SeededNoise
from unclip.diffusion.samplers import Step, sample_ddpm
from unclip.diffusion.sampling import SamplerName, run_sampler
from unclip.diffusion.schedules import (
    DiffusionConfig,
    Schedule,
    Variance,
    build_schedule,
    cosine_schedule,
    linear_schedule,
    respace,
)
from unclip.errors import CancelledError, ConfigError

SAMPLERS: tuple[SamplerName, ...] = ("ddpm", "ddim", "dpmpp_2m")


@pytest.mark.parametrize(
    "schedule",
    [
        cosine_schedule(),
        cosine_schedule(shift=-3.0),
        cosine_schedule(shift=2.0),
        linear_schedule(),
        linear_schedule(21),
        cosine_schedule(50),
    ],
)
def test_schedules_are_proper(schedule: Schedule) -> None:
    bars = schedule.alphas_cumprod
    assert ((bars > 0) & (bars < 1)).all()
    assert (bars[1:] < bars[:-1]).all()
    assert ((schedule.betas > 0) & (schedule.betas <= 0.999)).all()


def test_a_configuration_names_its_schedule() -> None:
    pairs = (
        (DiffusionConfig(), cosine_schedule()),
        (DiffusionConfig(shift=-2.0, num_timesteps=50), cosine_schedule(50, shift=-2.0)),
        (DiffusionConfig(schedule="linear", num_timesteps=200), linear_schedule(200)),
    )
    for config, expected in pairs:
        assert torch.equal(build_schedule(config).betas, expected.betas)
    assert build_schedule(DiffusionConfig(), torch.float32).betas.dtype == torch.float32


def test_faulty_settings() -> None:
    with pytest.raises(ConfigError, match="num_timesteps is 1, expected 2 or more"):
        DiffusionConfig(num_timesteps=1)
    with pytest.raises(ConfigError, match="num_timesteps is 20, expected 21 or more"):
        DiffusionConfig(schedule="linear", num_timesteps=20)
    with pytest.raises(ConfigError, match=r"min_snr_gamma is -5\.0, expected above 0"):
        DiffusionConfig(min_snr_gamma=-5.0)
    with pytest.raises(ConfigError, match=r"clip_x_start is 0\.0, expected above 0"):
        DiffusionConfig(clip_x_start=0.0)
    with pytest.raises(ConfigError, match="0 sampling steps asked for, expected 1 to 1000"):
        respace(1000, 0)
    with pytest.raises(ConfigError, match="expected 1 to 10"):
        respace(10, 11)
    with pytest.raises(ConfigError, match="shift belongs to the cosine schedule"):
        DiffusionConfig(schedule="linear", shift=1.0)


def test_a_picture_draws_the_same_whoever_stands_beside_it() -> None:
    together = SeededNoise([5, 6, 7], "decoder")
    alone = SeededNoise([6], "decoder")
    assert isinstance(together, Noise)
    for shape in ((3, 4), (2,)):
        assert torch.equal(together(shape)[1], alone(shape)[0])
    assert not torch.equal(SeededNoise([6], "prior")((9,)), SeededNoise([6], "decoder")((9,)))
    fork = SeededNoise([6], "prior").fork("1")
    assert torch.equal(fork((9,)), SeededNoise([6], "prior/1")((9,)))


def test_one_generator_draws_the_batch_in_turn_and_a_list_by_row() -> None:
    noise = GeneratorNoise(2, torch.Generator().manual_seed(1))
    assert torch.equal(noise((3,)), torch.randn(2, 3, generator=torch.Generator().manual_seed(1)))
    rows = GeneratorNoise(2, [torch.Generator().manual_seed(s) for s in (1, 2)])
    expected = [torch.randn(1, 3, generator=torch.Generator().manual_seed(s)) for s in (1, 2)]
    assert torch.equal(rows((3,)), torch.cat(expected))
    assert rows.fork("x") is rows


def denoiser() -> Denoiser:
    config = DiffusionConfig(prediction="x_start")
    return Denoiser(lambda x, t: 0.5 * x, build_schedule(config), config)


@pytest.mark.parametrize("name", SAMPLERS)
def test_callback_sees_every_step_may_replace_and_may_stop(name: SamplerName) -> None:
    times = respace(1000, 6)
    x = torch.ones(2, 3)
    steps: list[Step] = []

    def watch(step: Step) -> torch.Tensor | None:
        steps.append(step)
        return torch.zeros_like(step.x_t) if step.index == 4 else None

    out = run_sampler(name, denoiser(), x, times, SeededNoise([0, 1], "t"), callback=watch)
    assert [step.t for step in steps] == list(times)
    assert [step.index for step in steps] == list(range(6))
    assert all(step.total == 6 for step in steps)
    assert torch.equal(out, steps[-1].x_t)
    assert steps[-1].x_start.abs().max() == 0  # made from the replacement

    def stop(step: Step) -> None:
        if step.index == 2:
            raise CancelledError("stopped")

    with pytest.raises(CancelledError):
        run_sampler(name, denoiser(), x, times, SeededNoise([0, 1], "t"), callback=stop)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_sample_keeps_float32_though_the_network_answers_bfloat16(name: SamplerName) -> None:
    config = DiffusionConfig(prediction="v", clip_x_start=1.0)

    def network(x: torch.Tensor, t: int) -> torch.Tensor:
        return (0.1 * x).bfloat16()

    wrapped = Denoiser(network, build_schedule(config), config)
    out = run_sampler(name, wrapped, torch.ones(1, 4), respace(1000, 4), SeededNoise([0], "t"))
    assert out.dtype == torch.float32
    assert out.isfinite().all()


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("learned", [False, True])
def test_no_value_is_ever_read_back_from_the_device(name: SamplerName, learned: bool) -> None:
    """Meta tensors have no values: `.item()`, `float()`, `if tensor` or a copy back would raise."""
    variance: Variance = "learned_range" if learned else "fixed_small"
    config = DiffusionConfig(prediction="eps", variance=variance, clip_x_start=1.0)

    def network(x: torch.Tensor, t: int) -> torch.Tensor:
        return torch.cat([x, x], dim=1) if learned else x

    guided = guide(network, network, 3.0, channels=2)
    wrapped = Denoiser(guided, build_schedule(config), config)
    x = torch.empty(3, 2, 4, device="meta")
    times = respace(1000, 5)
    out = run_sampler(name, wrapped, x, times, SeededNoise([0, 1, 2], "t"), eta=0.5)
    assert out.device.type == "meta"
    assert invert_ddim(wrapped, x, times).shape == x.shape


@pytest.mark.parametrize("t", [1, 20, 500, 999])
def test_a_learned_variance_lies_between_the_posterior_s_and_beta(t: int) -> None:
    schedule = cosine_schedule()
    x = torch.zeros(1, 1, dtype=torch.float64)
    small, beta = posterior_mean_variance(schedule, x, x, t, t - 1)[1:]
    noise = GeneratorNoise(1, torch.Generator().manual_seed(0))
    draw = noise((1,)).double()
    for fraction, expected in ((-1.0, small), (0.0, (small * beta).sqrt()), (1.0, beta)):
        config = DiffusionConfig(prediction="x_start", variance="learned_range")
        answer = torch.tensor([[0.0, fraction]], dtype=torch.float64)
        steps: list[Step] = []
        replay = GeneratorNoise(1, torch.Generator().manual_seed(0))
        wrapped = Denoiser(lambda x, t, answer=answer: answer, schedule, config)
        sample_ddpm(wrapped, x, (t, t - 1), replay, callback=steps.append)
        assert float((steps[0].x_t / draw) ** 2) == pytest.approx(float(expected), rel=1e-9)


def test_ancestral_sampling_has_the_mean_and_variance_of_the_recursion() -> None:
    """40,000 chains on Gaussian data; both statistics within four standard errors."""
    config = DiffusionConfig(prediction="x_start")
    schedule = build_schedule(config)
    mu, s, count = 0.7, 0.5, 40_000
    bars = schedule.alphas_cumprod

    def network(x: torch.Tensor, t: int) -> torch.Tensor:
        ab = float(bars[t])
        return mu + ab**0.5 * s**2 / (ab * s**2 + 1 - ab) * (x - ab**0.5 * mu)

    times = respace(1000, 50)
    generator = torch.Generator().manual_seed(3)
    noise = GeneratorNoise(count, generator)
    x = run_sampler("ddpm", Denoiser(network, schedule, config), noise((1,)), times, noise)

    mean, variance = 0.0, 1.0
    for i, t in enumerate(times):
        prev = times[i + 1] if i + 1 < len(times) else -1
        ab, ab_prev = float(bars[t]), float(bars[prev]) if prev >= 0 else 1.0
        beta = 1 - ab / ab_prev
        gain = ab**0.5 * s**2 / (ab * s**2 + 1 - ab)
        from_start = ab_prev**0.5 * beta / (1 - ab)
        slope = from_start * gain + (1 - beta) ** 0.5 * (1 - ab_prev) / (1 - ab)
        mean = slope * mean + from_start * (mu - gain * ab**0.5 * mu)
        variance = slope**2 * variance
        variance += (1 - ab_prev) / (1 - ab) * beta if prev >= 0 else 0.0
    z_mean = (float(x.mean()) - mean) / (variance / count) ** 0.5
    z_variance = (float(x.var()) - variance) / (variance * (2 / count) ** 0.5)
    assert abs(z_mean) < 4
    assert abs(z_variance) < 4
