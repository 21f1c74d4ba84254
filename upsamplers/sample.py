"""A small picture to a large one."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from unclip.diffusion.affine import run_steps
from unclip.diffusion.denoiser import Denoiser, LastStep, Prepared
from unclip.diffusion.gaussian import q_sample
from unclip.diffusion.noise import Noise
from unclip.diffusion.samplers import Callback
from unclip.diffusion.sampling import SamplerName
from unclip.diffusion.schedules import build_schedule, respace, times_below
from unclip.nn.fast import fast
from unclip.nn.graphs import step_recorder
from unclip.nn.residency import summon
from upsamplers.augmentation import augment
from upsamplers.model import Upsampler, enlarge


@torch.inference_mode()
def upsample(
    upsampler: Upsampler,
    images: Float[Tensor, "batch 3 height width"],
    *,
    noise: Noise,
    num_steps: int | None = None,
    sampler: SamplerName | None = None,
    start: float = 1.0,
    callback: Callback | None = None,
    latents: Float[Tensor, "batch 3 large_height large_width"] | None = None,
) -> Float[Tensor, "batch 3 large_height large_width"]:
    """Enlarges pictures in [-1, 1] by the upsampler's factor.

    Args:
        images: any size that the network's levels divide; it was made for `config.low_size`.
        num_steps, sampler: None takes the checkpoint's defaults.
        start: fraction of the time, in (0, 1], at which sampling begins: below 1 from the enlarged
            picture, noised as far as that time has it (SDEdit, arXiv 2108.01073), else from noise.
        latents: the first noise; None draws it.
    """
    config, defaults = upsampler.config, upsampler.config.sampling
    num_steps = defaults.num_steps if num_steps is None else num_steps
    dtype = upsampler.unet.conv_in.weight.dtype
    low_res = clean = images.clamp(-1, 1)
    level = defaults.augmentation if config.tells_augmentation else None
    if level is not None:
        levels = torch.full((len(images),), level, device=images.device)
        eps = noise.fork("augmentation")(low_res.shape[1:]).to(low_res)
        low_res = augment(low_res, levels, eps)
    low_res = enlarge(low_res.float(), config.factor).to(dtype)

    # All that depends on the time is computed before the loop.
    schedule = build_schedule(config.diffusion)
    times = respace(times_below(schedule.num_timesteps, start), num_steps)
    steps = upsampler.modulations_of_steps(times, level)
    x = noise((3, *low_res.shape[-2:])) if latents is None else latents.float()
    x = x.to(images.device)
    if start < 1:
        x = q_sample(schedule, enlarge(clean.float(), config.factor), times[0], x)
    name, record = sampler or defaults.sampler, step_recorder(upsampler)
    last = upsampler.network(last=True)
    with ExitStack() as stack:
        runs = {"": stack.enter_context(fast(upsampler.unet))}

        def prepared(at: Callable[[int], Any], name: str = "") -> Prepared:
            def call(x: Tensor, modulations: tuple[Tensor, ...], low_res: Tensor) -> Tensor:
                return runs[name](torch.cat([x.to(dtype), low_res], dim=1), modulations)

            return Prepared(call, at, low_res, name)

        def at_last(t: int) -> tuple[Tensor, ...]:
            # What the first network took is given back before.
            stack.close()
            summon(last)
            runs["last"] = stack.enter_context(fast(last))
            return last.modulations_of_steps([t], None)[t]

        network = prepared(steps.__getitem__)
        if last is not upsampler.unet:
            network = LastStep(network, prepared(at_last, "last"), times[-1])
        denoiser = Denoiser(network, schedule, config.diffusion)
        x = run_steps(name, denoiser, x, times, noise, record, callback=callback)
    return x.clamp(-1, 1)
