"""A small picture to a large one."""

import torch
from jaxtyping import Float
from torch import Tensor

from unclip.diffusion.affine import run_steps
from unclip.diffusion.denoiser import Denoiser, Prepared
from unclip.diffusion.gaussian import q_sample
from unclip.diffusion.noise import Noise
from unclip.diffusion.samplers import Callback
from unclip.diffusion.sampling import SamplerName
from unclip.diffusion.schedules import build_schedule, respace, times_below
from unclip.nn.graphs import step_recorder
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
) -> Float[Tensor, "batch 3 large_height large_width"]:
    """Enlarges pictures in [-1, 1] by the upsampler's factor.

    Args:
        images: any size that the network's levels divide; it was made for `config.low_size`.
        num_steps, sampler: None takes the checkpoint's defaults.
        start: fraction of the time, in (0, 1], at which sampling begins: below 1 from the enlarged
            picture, noised as far as that time has it (SDEdit, arXiv 2108.01073), else from noise.
    """
    config, defaults = upsampler.config, upsampler.config.sampling
    num_steps = defaults.num_steps if num_steps is None else num_steps
    dtype = upsampler.unet.conv_in.weight.dtype
    low_res = clean = images.clamp(-1, 1)
    level = None
    if config.tells_augmentation:
        level = torch.full((len(images),), defaults.augmentation, device=images.device)
        eps = noise.fork("augmentation")(low_res.shape[1:]).to(low_res)
        low_res = augment(low_res, level, eps)
    low_res = enlarge(low_res.float(), config.factor).to(dtype)

    # All that depends on the time is computed before the loop.
    schedule = build_schedule(config.diffusion)
    times = respace(times_below(schedule.num_timesteps, start), num_steps)
    steps = {
        t: upsampler.modulations(torch.full((len(images),), t, device=images.device), level)
        for t in times
    }

    def call(x: Tensor, modulations: tuple[Tensor, ...], low_res: Tensor) -> Tensor:
        return upsampler.unet(torch.cat([x.to(dtype), low_res], dim=1), modulations)

    x = noise((3, *low_res.shape[-2:])).to(images.device)
    if start < 1:
        x = q_sample(schedule, enlarge(clean.float(), config.factor), times[0], x)
    network = Prepared(call, steps.__getitem__, low_res)
    denoiser = Denoiser(network, schedule, config.diffusion)
    name, record = sampler or defaults.sampler, step_recorder(upsampler.unet)
    return run_steps(name, denoiser, x, times, noise, record, callback=callback).clamp(-1, 1)
