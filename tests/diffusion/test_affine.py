"""The recorded samplers against the samplers themselves."""

from typing import Any

import pytest
import torch
from tape import TapeRecorder
from torch import Tensor

from unclip.diffusion.affine import coefficients, sample_recorded
from unclip.diffusion.denoiser import Denoiser, Prepared
from unclip.diffusion.guidance import guide
from unclip.diffusion.noise import SeededNoise
from unclip.diffusion.samplers import Step
from unclip.diffusion.sampling import SamplerName, run_sampler
from unclip.diffusion.schedules import (
    DiffusionConfig,
    Prediction,
    Variance,
    build_schedule,
    cosine_schedule,
    respace,
)
from unclip.errors import CancelledError
from unclip.nn.graphs import GraphCache

SAMPLERS: tuple[tuple[SamplerName, float], ...] = (
    ("ddpm", 0.0),
    ("ddim", 0.0),
    ("ddim", 0.7),
    ("dpmpp_2m", 0.0),
)
ROWS, CHANNELS = 2, 3


def prepared(config: DiffusionConfig, rows: int, weight: Tensor) -> Prepared:
    """A network that depends on everything it is given."""
    outputs = 2 * CHANNELS if config.variance == "learned_range" else CHANNELS

    def function(x: Tensor, changing: tuple[Tensor, ...], constant: dict[str, Tensor]) -> Tensor:
        h = torch.tanh(x @ weight.to(x.dtype) + changing[0]) + constant["context"][: len(x)]
        return h.repeat(1, -(-outputs // CHANNELS))[:, :outputs] * 0.9

    def at(t: int) -> tuple[Tensor, ...]:
        return (torch.full((rows, CHANNELS), t / 1000),)

    context = torch.linspace(-0.4, 0.4, rows * CHANNELS).view(rows, CHANNELS)
    return Prepared(function, at, {"context": context})


def denoiser(
    prediction: Prediction = "eps",
    variance: Variance = "fixed_small",
    *,
    scale: float = 3.0,
    interval: tuple[float, float] | None = (0.2, 0.8),
) -> Denoiser:
    config = DiffusionConfig(prediction=prediction, variance=variance, clip_x_start=2.0)
    weight = torch.randn(CHANNELS, CHANNELS, generator=torch.Generator().manual_seed(7))
    network = guide(
        prepared(config, ROWS, weight),
        prepared(config, 2 * ROWS, weight),
        scale,
        channels=CHANNELS if variance == "learned_range" else None,
        interval=interval,
    )
    return Denoiser(network, build_schedule(config), config)


def cache() -> tuple[GraphCache, TapeRecorder]:
    recorder = TapeRecorder()
    return GraphCache(recorder), recorder


@pytest.mark.parametrize(("name", "eta"), SAMPLERS)
@pytest.mark.parametrize("prediction", ["eps", "x_start", "v"])
@pytest.mark.parametrize("variance", ["fixed_small", "learned_range"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_recorded_run_is_the_run(
    name: SamplerName,
    eta: float,
    prediction: Prediction,
    variance: Variance,
    dtype: torch.dtype,
) -> None:
    wrapped = denoiser(prediction, variance)
    times = respace(1000, 9)
    noise = SeededNoise([1, 2], "t")
    x = noise((CHANNELS,)).to(dtype)
    plain = run_sampler(name, wrapped, x, times, SeededNoise([3, 4], "t"), eta=eta)
    graphs, recorder = cache()
    recorded = sample_recorded(
        name, wrapped, x, times, SeededNoise([3, 4], "t"), graphs.run, eta=eta
    )
    assert recorded.dtype == dtype
    assert (recorded - plain).abs().max() < (1e-9 if dtype == torch.float64 else 2e-4)
    # With guidance and without: two recordings serve all nine steps.
    assert (recorder.recordings, recorder.replays) == (2, 9)


@pytest.mark.parametrize("name", ["ddpm", "ddim", "dpmpp_2m"])
def test_a_recording_serves_other_steps_scales_and_pictures(name: SamplerName) -> None:
    graphs, recorder = cache()
    x = torch.randn(ROWS, CHANNELS)
    for scale, steps in ((3.0, 5), (7.5, 5), (7.5, 11), (1.5, 2)):
        wrapped = denoiser("v", scale=scale, interval=None)
        times = respace(1000, steps)
        plain = run_sampler(name, wrapped, x, times, SeededNoise([3, 4], "t"))
        recorded = sample_recorded(name, wrapped, x, times, SeededNoise([3, 4], "t"), graphs.run)
        assert torch.allclose(recorded, plain, atol=1e-5), (scale, steps)
        x = x + 0.3
    assert recorder.recordings == 1


def test_a_schedule_in_float32_has_its_own_numbers() -> None:
    """As diffusers' tables, which parity asks for."""
    times = respace(1000, 6)
    exact = coefficients("ddpm", cosine_schedule(), times)
    rounded = coefficients("ddpm", cosine_schedule(dtype=torch.float32), times)
    assert 0 < (exact - rounded).abs().max() < 1e-3
    assert exact.dtype == rounded.dtype == torch.float64


def test_the_callback_sees_every_step_may_replace_and_may_stop() -> None:
    wrapped, times = denoiser("v"), respace(1000, 6)
    x = torch.ones(ROWS, CHANNELS)

    def run(sampler: Any, **more: Any) -> tuple[Tensor, list[Step]]:
        steps: list[Step] = []

        def watch(step: Step) -> Tensor | None:
            steps.append(step)
            return torch.zeros_like(step.x_t) if step.index == 3 else None

        noise = SeededNoise([0, 1], "t")
        return sampler("ddpm", wrapped, x, times, noise, callback=watch, **more), steps

    plain, seen = run(run_sampler)
    recorded, seen_recorded = run(sample_recorded, record=cache()[0].run)
    assert torch.allclose(plain, recorded, atol=1e-5)
    for one, other in zip(seen, seen_recorded, strict=True):
        assert (one.index, one.total, one.t) == (other.index, other.total, other.t)
        assert torch.allclose(one.x_t, other.x_t, atol=1e-5)
        assert torch.allclose(one.x_start, other.x_start, atol=1e-5)

    def stop(step: Step) -> None:
        if step.index == 2:
            raise CancelledError("stopped")

    noise, (graphs, _) = SeededNoise([0, 1], "t"), cache()
    with pytest.raises(CancelledError):
        sample_recorded("ddpm", wrapped, x, times, noise, graphs.run, callback=stop)


def test_noise_is_drawn_in_the_same_order_at_once_or_step_by_step() -> None:
    wrapped, times = denoiser("v"), respace(1000, 5)
    x = torch.ones(ROWS, CHANNELS)
    ends = []
    for callback in (None, lambda step: None):
        noise = SeededNoise([8, 9], "t")
        graphs, _ = cache()
        sample_recorded("ddpm", wrapped, x, times, noise, graphs.run, callback=callback)
        ends.append(noise((2,)))  # as many draws were taken
    after = SeededNoise([8, 9], "t")
    run_sampler("ddpm", wrapped, x, times, after)
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], after((2,)))


def test_no_value_is_read_back_from_the_device() -> None:
    """Meta tensors have no values."""
    wrapped = denoiser("eps", "learned_range", interval=None)
    network: Any = wrapped.network
    meta = {
        part: Prepared(
            lambda x, changing, constant: x.repeat(1, 2),
            lambda t: torch.empty((), device="meta"),
            None,
        )
        for part in ("cond", "both")
    }
    guided = guide(meta["cond"], meta["both"], network.scale, channels=CHANNELS)
    wrapped = Denoiser(guided, wrapped.schedule, wrapped.config)
    x = torch.empty(ROWS, CHANNELS, device="meta")
    noise = SeededNoise([0, 1], "t")
    out = sample_recorded("ddpm", wrapped, x, respace(1000, 4), noise, lambda f, key, *a: f(*a))
    assert out.device.type == "meta"
