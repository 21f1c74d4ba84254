"""Noise schedules: how much of the picture is left at each time.

Cosine: Nichol & Dhariwal 2021 (arXiv 2102.09672, eq. 17); shifted cosine: Hoogeboom et al. 2023
(simple diffusion, arXiv 2301.11093, eq. 4); linear: Ho et al. 2020 (arXiv 2006.11239, section 4).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unclip.config import ABOVE_ZERO, INF, check_ranges
from unclip.errors import ConfigError

Prediction = Literal["eps", "x_start", "v"]
Variance = Literal["fixed_small", "learned_range"]

MAX_BETA = 0.999
LINEAR_BETAS = (1e-4, 2e-2)
"""First and last of the linear schedule of 1000 timesteps."""
LINEAR_LEAST_TIMESTEPS = 21
"""With fewer the last beta would exceed `MAX_BETA`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffusionConfig:
    """The process that a network was trained on."""

    schedule: Literal["cosine", "linear"] = "cosine"
    shift: float = 0.0
    """Added to the log signal-to-noise ratio of the cosine schedule; 2 ln(64 / size) for large
    pictures."""
    num_timesteps: int = 1000
    prediction: Prediction = "eps"
    """What the network answers: the noise, the clean sample, or v = sqrt(ab) eps - sqrt(1 - ab)
    x_0."""
    variance: Variance = "fixed_small"
    """Of the ancestral step: the posterior's, or learned between it and beta (twice the
    channels)."""
    clip_x_start: float | None = None
    """Predicted clean samples are clipped to plus or minus this."""
    min_snr_gamma: float | None = None
    """Weights the loss of each time by min(SNR, gamma) (arXiv 2303.09556); None for the simple
    loss."""
    precision: Literal["float64", "float32"] = "float64"
    """Of the schedule's tables: diffusers holds its own in float32, Karlo in float64, of which
    samples differ by up to 5e-4 in the last step."""

    def __post_init__(self) -> None:
        if self.schedule == "linear" and self.shift:
            raise ConfigError(
                "diffusion.shift belongs to the cosine schedule; set it to 0 or use cosine"
            )
        least = 2 if self.schedule == "cosine" else LINEAR_LEAST_TIMESTEPS
        check_ranges(
            self,
            "diffusion.",
            num_timesteps=(least, INF),
            clip_x_start=(ABOVE_ZERO, INF),
            min_snr_gamma=(ABOVE_ZERO, INF),
        )


@dataclass(frozen=True)
class Schedule:
    """Tables over the times 0 (least noise) to T - 1, on the CPU, float64 unless built
    otherwise."""

    betas: Float[Tensor, " time"]
    alphas_cumprod: Float[Tensor, " time"]

    @property
    def num_timesteps(self) -> int:
        """T."""
        return len(self.betas)

    def alpha_bar(self, t: int | Int[Tensor, " batch"]) -> Tensor:
        """Signal power left at time t; 1 at t = -1, before any noise."""
        if isinstance(t, int):
            return self.alphas_cumprod[t] if t >= 0 else torch.ones_like(self.alphas_cumprod[0])
        table = self.alphas_cumprod.to(t.device)
        return torch.where(t >= 0, table[t.clamp(min=0)], torch.ones_like(table[0]))


def cosine_schedule(
    num_timesteps: int = 1000, *, shift: float = 0.0, dtype: torch.dtype = torch.float64
) -> Schedule:
    """Cosine schedule; `shift` is added to its log signal-to-noise ratio at every time.

    With float32 the tables are rounded as diffusers' UnCLIPScheduler rounds them: betas first.
    """

    def alpha_bar(u: float) -> float:
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    steps = [(i / num_timesteps, (i + 1) / num_timesteps) for i in range(num_timesteps)]
    exact = [min(1 - alpha_bar(end) / alpha_bar(start), MAX_BETA) for start, end in steps]
    betas = torch.tensor(exact, dtype=torch.float64)
    if shift:
        betas = _shift(betas, shift)
    return _from_betas(betas.to(dtype))


def _shift(betas: Tensor, shift: float) -> Tensor:
    shifted = torch.sigmoid(torch.logit(torch.cumprod(1 - betas, 0)) + shift)
    before = torch.cat([torch.ones_like(shifted[:1]), shifted[:-1]])
    return (1 - shifted / before).clamp(max=MAX_BETA)


def linear_schedule(num_timesteps: int = 1000, *, dtype: torch.dtype = torch.float64) -> Schedule:
    """Betas that grow evenly from 1e-4 to 0.02, times 1000 / T: as much noise in fewer steps."""
    start, end = (beta * 1000 / num_timesteps for beta in LINEAR_BETAS)
    return _from_betas(torch.linspace(start, end, num_timesteps, dtype=dtype))


def _from_betas(betas: Tensor) -> Schedule:
    return Schedule(betas, torch.cumprod(1 - betas, 0))


def build_schedule(config: DiffusionConfig, dtype: torch.dtype | None = None) -> Schedule:
    """Builds the tables that a configuration names, in its precision unless another is given."""
    if dtype is None:
        dtype = torch.float32 if config.precision == "float32" else torch.float64
    if config.schedule == "linear":
        return linear_schedule(config.num_timesteps, dtype=dtype)
    return cosine_schedule(config.num_timesteps, shift=config.shift, dtype=dtype)


def respace(num_timesteps: int, num_steps: int) -> tuple[int, ...]:
    """Chooses `num_steps` times evenly from T - 1 down to 0, as Karlo and diffusers do.

    Raises:
        ConfigError: there are fewer than 1 or more than `num_timesteps` steps.
    """
    if not 1 <= num_steps <= num_timesteps:
        raise ConfigError(f"{num_steps} sampling steps asked for, expected 1 to {num_timesteps}")
    if num_steps == 1:
        return (num_timesteps - 1,)
    stride = (num_timesteps - 1) / (num_steps - 1)
    return tuple(round(i * stride) for i in reversed(range(num_steps)))


def times_below(num_timesteps: int, start: float) -> int:
    """How many of T times a late start leaves: those below the fraction `start` of T, at least
    one."""
    return max(1, round(start * num_timesteps))
