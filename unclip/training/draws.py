"""The randomness of training: a function of (seed, stage, position in the stream of samples).

The same sample gets the same noise, time and dropout whatever the number of processes and whoever
stands beside it in the batch, so a run that is resumed or spread differently draws the same.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from unclip.diffusion.noise import stream_key


class Draws:
    """Draws for one batch; each row has a generator of its own, and calls follow each other in it."""

    def __init__(
        self,
        seed: int,
        stage: str,
        positions: Sequence[int],
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = device
        self.generators = [
            Generator().manual_seed(stream_key(seed, f"{stage}:{position}")) for position in positions
        ]

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal draws, (batch, *shape), float32."""
        rows = [torch.randn(tuple(shape), generator=g) for g in self.generators]
        return torch.stack(rows).to(self.device)

    def uniform(self) -> Tensor:
        """Uniform draws in [0, 1), (batch,), float32."""
        return torch.cat([torch.rand(1, generator=g) for g in self.generators]).to(self.device)

    def integers(self, high: int) -> Tensor:
        """Whole numbers in [0, high), (batch,)."""
        rows = [torch.randint(high, (1,), generator=g) for g in self.generators]
        return torch.cat(rows).to(self.device)

    def bernoulli(self, probability: float) -> Tensor:
        """True with the given probability, (batch,)."""
        return self.uniform() < probability
