"""The samplers by name, as a configuration or a user chooses them."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from unclip.diffusion.denoiser import Denoiser
from unclip.diffusion.noise import Noise
from unclip.diffusion.samplers import Callback, sample_ddim, sample_ddpm, sample_dpmpp_2m

SamplerName = Literal["ddpm", "ddim", "dpmpp_2m"]


def run_sampler(
    name: SamplerName,
    denoiser: Denoiser,
    x: Tensor,
    times: Sequence[int],
    noise: Noise,
    *,
    eta: float = 0.0,
    callback: Callback | None = None,
) -> Tensor:
    """Samples from x at times[0] to x_0; `eta` is DDIM's alone (0 deterministic, 1 ancestral)."""
    if name == "ddpm":
        return sample_ddpm(denoiser, x, times, noise, callback=callback)
    if name == "ddim":
        return sample_ddim(denoiser, x, times, noise, eta=eta, callback=callback)
    return sample_dpmpp_2m(denoiser, x, times, callback=callback)
