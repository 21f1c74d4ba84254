"""A small picture to a large one."""

from contextlib import ExitStack

import torch
from jaxtyping import Float
from torch import Tensor

from unclip.diffusion.denoiser import Denoiser
from unclip.diffusion.noise import Noise
from unclip.diffusion.samplers import Callback
from unclip.diffusion.sampling import SamplerName, run_sampler
from unclip.diffusion.schedules import build_schedule, respace
from unclip.nn.fast import fast
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
    callback: Callback | None = None,
    latents: Float[Tensor, "batch 3 large_height large_width"] | None = None,
) -> Float[Tensor, "batch 3 large_height large_width"]:
    """Enlarges pictures in [-1, 1] by the upsampler's factor.

    Args:
        images: any size that the network's levels divide; it was made for `config.low_size`.
        num_steps, sampler: None takes the checkpoint's defaults.
        latents: the first noise; None draws it.
    """
    config, defaults = upsampler.config, upsampler.config.sampling
    num_steps = defaults.num_steps if num_steps is None else num_steps
    dtype = upsampler.unet.conv_in.weight.dtype
    low_res = images.clamp(-1, 1)
    level = defaults.augmentation if config.tells_augmentation else None
    if level is not None:
        levels = torch.full((len(images),), level, device=images.device)
        eps = noise.fork("augmentation")(low_res.shape[1:]).to(low_res)
        low_res = augment(low_res, levels, eps)
    low_res = enlarge(low_res.float(), config.factor).to(dtype)

    # All that depends on the time is computed before the loop.
    schedule = build_schedule(config.diffusion)
    times = respace(schedule.num_timesteps, num_steps)
    steps = upsampler.modulations_of_steps(times, level)
    x = noise((3, *low_res.shape[-2:])) if latents is None else latents.float()
    x = x.to(images.device)
    name = sampler or defaults.sampler
    with ExitStack() as stack:
        run = stack.enter_context(fast(upsampler.unet))
        last = upsampler.network(last=True)

        def network(x: Tensor, t: int) -> Tensor:
            nonlocal run
            if t == times[-1] and last is not upsampler.unet:
                # What the first network took is given back before.
                stack.close()
                run = stack.enter_context(fast(last))
            return run(torch.cat([x.to(dtype), low_res], dim=1), steps[t])

        denoiser = Denoiser(network, schedule, config.diffusion)
        x = run_sampler(name, denoiser, x, times, noise, callback=callback)
    return x.clamp(-1, 1)
