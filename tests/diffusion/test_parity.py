"""Schedules and ancestral steps against diffusers' UnCLIPScheduler 0.42.1."""

from collections.abc import Sequence
from typing import Literal

import pytest
import torch
from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler

from unclip.diffusion.denoiser import Denoiser
from unclip.diffusion.samplers import sample_ddpm
from unclip.diffusion.schedules import (
    DiffusionConfig,
    Schedule,
    build_schedule,
    cosine_schedule,
    respace,
)


def test_float32_schedule_is_bit_equal() -> None:
    ours, theirs = cosine_schedule(1000, dtype=torch.float32), UnCLIPScheduler()
    assert torch.equal(ours.betas, theirs.betas)
    assert torch.equal(ours.alphas_cumprod, theirs.alphas_cumprod)


def test_float64_differs_only_by_rounding() -> None:
    exact, rounded = cosine_schedule(), cosine_schedule(dtype=torch.float32)
    assert exact.betas.dtype == torch.float64
    assert (exact.alphas_cumprod - rounded.alphas_cumprod.double()).abs().max() < 1e-5


@pytest.mark.parametrize("steps", [2, 7, 25, 50, 64, 1000])
def test_respacing_is_theirs(steps: int) -> None:
    scheduler = UnCLIPScheduler()
    scheduler.set_timesteps(steps)
    assert respace(1000, steps) == tuple(scheduler.timesteps.tolist())


PUBLISHED_25 = (
    999, 957, 916, 874, 832, 791, 749, 708, 666, 624, 583, 541, 500,
    458, 416, 375, 333, 291, 250, 208, 166, 125, 83, 42, 0,
)  # fmt: skip


def test_respacing_is_the_published_one() -> None:
    assert respace(1000, 25) == PUBLISHED_25
    assert respace(1000, 7) == (999, 832, 666, 500, 333, 166, 0)
    assert respace(1000, 50)[:4] == (999, 979, 958, 938)
    assert respace(1000, 50)[-3:] == (41, 20, 0)


class Replay:
    """Draws as diffusers draws: one generator, the whole batch at once."""

    def __init__(self, batch: int) -> None:
        self.batch, self.generator = batch, torch.Generator().manual_seed(9)

    def __call__(self, shape: Sequence[int]) -> torch.Tensor:
        return torch.randn((self.batch, *shape), generator=self.generator)

    def fork(self, label: str) -> "Replay":
        return self


def network(learned: bool, x: torch.Tensor, t: int) -> torch.Tensor:
    """An answer that hangs on x, random in every channel, in the variance's too."""
    generator = torch.Generator().manual_seed(t)
    mean = torch.tanh(0.3 * x + 0.5 * torch.randn(x.shape, generator=generator))
    fraction = 2 * torch.rand(x.shape, generator=generator) - 1
    return torch.cat([mean, fraction], dim=1) if learned else mean


@pytest.mark.parametrize("steps", [2, 7, 25, 100, 1000])
@pytest.mark.parametrize("prediction", ["sample", "epsilon"])
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("bound", [None, 0.7])
def test_ancestral_steps_equal_theirs(
    steps: int, prediction: Literal["sample", "epsilon"], learned: bool, bound: float | None
) -> None:
    scheduler = UnCLIPScheduler(
        variance_type="learned_range" if learned else "fixed_small_log",
        clip_sample=bound is not None,
        clip_sample_range=bound or 1.0,
        prediction_type=prediction,
    )
    scheduler.set_timesteps(steps)
    start = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(9)
    theirs, path = start, []
    for i, t in enumerate(scheduler.timesteps):
        prev = None if i + 1 == steps else scheduler.timesteps[i + 1]
        answer = network(learned, theirs, int(t))
        theirs = scheduler.step(
            answer,
            t,  # type: ignore[arg-type]  # annotated int, the pipelines pass tensors
            theirs,
            prev_timestep=prev,  # type: ignore[arg-type]
            generator=generator,
            return_dict=False,
        )[0]
        path.append(theirs)

    config = DiffusionConfig(
        prediction="x_start" if prediction == "sample" else "eps",
        variance="learned_range" if learned else "fixed_small",
        clip_x_start=bound,
    )
    schedule: Schedule = build_schedule(config, torch.float32)
    ours: list[torch.Tensor] = []

    def keep(step) -> None:
        ours.append(step.x_t)

    denoiser = Denoiser(lambda x, t: network(learned, x, t), schedule, config)
    sample_ddpm(denoiser, start, respace(1000, steps), Replay(2), callback=keep)
    assert len(ours) == len(path)
    for step, (a, b) in enumerate(zip(ours, path, strict=True)):
        assert (a - b).abs().max() < 1e-6 * max(1.0, float(b.abs().max())), step
