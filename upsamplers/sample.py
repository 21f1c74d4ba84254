"""A small picture to a large one."""

from collections.abc import Sequence
from contextlib import ExitStack

import torch
from jaxtyping import Float
from torch import Tensor

from unclip.diffusion.affine import run_steps
from unclip.diffusion.denoiser import Denoiser, Prepared, Relay
from unclip.diffusion.gaussian import q_sample
from unclip.diffusion.noise import Noise
from unclip.diffusion.samplers import Callback
from unclip.diffusion.sampling import SamplerName
from unclip.diffusion.schedules import build_schedule, respace, times_below
from unclip.nn.fast import Run, fast
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

    schedule = build_schedule(config.diffusion)
    times = respace(times_below(schedule.num_timesteps, start), num_steps)
    x = noise((3, *low_res.shape[-2:])) if latents is None else latents.float()
    x = x.to(images.device)
    if start < 1:
        x = q_sample(schedule, enlarge(clean.float(), config.factor), times[0], x)
    name, record = sampler or defaults.sampler, step_recorder(upsampler)
    with ExitStack() as stack:
        if config.last_network:
            first = _Turn(upsampler, times[:-1], level, stack)
            last = _Turn(upsampler, times[-1:], level, stack, last=True)
            network = Relay(first.prepared(low_res), last.prepared(low_res), times[-1])
        else:
            network = _Turn(upsampler, times, level, stack).prepared(low_res)
        denoiser = Denoiser(network, schedule, config.diffusion)
        x = run_steps(name, denoiser, x, times, noise, record, callback=callback)
    return x.clamp(-1, 1)


class _Turn:
    """A network and the steps that it makes, made ready at the first of them.

    By then the network before it, if there is one, has had its turn: both need not be in memory.
    All that depends on the time is computed there, for all of the steps.
    """

    def __init__(
        self,
        upsampler: Upsampler,
        times: Sequence[int],
        level: float | None,
        stack: ExitStack,
        *,
        last: bool = False,
    ) -> None:
        self.upsampler, self.times, self.level = upsampler, times, level
        self.stack, self.last = stack, last
        self._ready: tuple[Run, dict[int, tuple[Tensor, ...]]] | None = None

    def prepared(self, low_res: Float[Tensor, "batch 3 height width"]) -> Prepared:
        """Returns the network with what it is told beside the sample."""
        return Prepared(self._call, lambda t: self._get_ready()[1][t], low_res, self.last)

    def _call(self, x: Tensor, modulations: tuple[Tensor, ...], low_res: Tensor) -> Tensor:
        run, _ = self._get_ready()
        return run(torch.cat([x.to(low_res.dtype), low_res], dim=1), modulations)

    def _get_ready(self) -> tuple[Run, dict[int, tuple[Tensor, ...]]]:
        if self._ready is None:
            network = self.upsampler.network(last=self.last)
            self.stack.close()  # what the network before it took is given back
            summon(network)
            run = self.stack.enter_context(fast(network))
            steps = self.upsampler.modulations_of_steps(self.times, self.level, last=self.last)
            self._ready = run, steps
        return self._ready
