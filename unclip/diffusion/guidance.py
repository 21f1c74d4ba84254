"""Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unclip.diffusion.denoiser import Network


def guide(
    cond: Network,
    both: Network,
    scale: float,
    *,
    channels: int | None = None,
    interval: tuple[float, float] | None = None,
    num_timesteps: int = 1000,
) -> Network:
    """Wraps a network: u + scale (c - u), combined in the network's own output space.

    Converting to x_start first would divide by sqrt(ab), which is tiny near t = T, and amplify
    rounding. So would combining two bfloat16 answers: they are brought to x's precision first.

    Args:
        cond: the network with the condition; called alone where guidance is off.
        both: the network for 2B rows, [conditional; unconditional], in one batched call.
        channels: how many leading channels are guided; those after them (a learned variance) are
            the conditional half's. None guides all.
        interval: fractions of T, inclusive, outside of which guidance is off (arXiv 2404.07724).
    """
    if scale == 1:
        return cond
    return Guided(cond, both, scale, channels, interval, num_timesteps)


@dataclass(frozen=True)
class Guided:
    """What `guide` returns."""

    cond: Network
    both: Network
    scale: float
    channels: int | None
    interval: tuple[float, float] | None
    num_timesteps: int

    def off(self, t: int) -> bool:
        """Whether the network is not guided at time t."""
        interval = self.interval
        return interval is not None and not interval[0] <= t / self.num_timesteps <= interval[1]

    def __call__(self, x: Tensor, t: int) -> Tensor:
        """Answers as a `Network`."""
        if self.off(t):
            return self.cond(x, t)
        both = self.both(torch.cat([x, x]), t)
        return combine(x, both, self.scale, self.channels)


def combine(x: Tensor, both: Tensor, scale: float | Tensor, channels: int | None) -> Tensor:
    """Combines the answers for [conditional; unconditional] rows, in x's precision."""
    conditional, unconditional = both.to(x.dtype).chunk(2)
    c, u = conditional[:, :channels], unconditional[:, :channels]
    combined = u + scale * (c - u)
    if channels is None:
        return combined
    return torch.cat([combined, conditional[:, channels:]], dim=1)
