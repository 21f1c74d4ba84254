"""Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598)."""

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

    def guided(x: Tensor, t: int) -> Tensor:
        if interval is not None and not interval[0] <= t / num_timesteps <= interval[1]:
            return cond(x, t)
        conditional, unconditional = both(torch.cat([x, x]), t).to(x.dtype).chunk(2)
        c, u = conditional[:, :channels], unconditional[:, :channels]
        combined = u + scale * (c - u)
        if channels is None:
            return combined
        return torch.cat([combined, conditional[:, channels:]], dim=1)

    return guided
