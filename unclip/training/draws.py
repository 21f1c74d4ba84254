"""The randomness of training: a function of (seed, stage, position in the stream of samples).

The same sample gets the same noise, time and dropout whatever the number of processes and whoever
stands beside it in the batch, so a run that is resumed or spread differently draws the same.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from unclip.diffusion.noise import stream_key


def data_seed(seed: int, stage: str) -> int:
    """Seeds what a stage's data set draws (captions, crops), apart from all other draws."""
    return stream_key(seed, f"{stage}:data")


class Draws:
    """Draws for one batch; every row has its own generator, and calls follow each other in it."""

    def __init__(
        self,
        seed: int,
        stage: str,
        positions: Sequence[int],
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = device
        self.generators = [
            Generator().manual_seed(stream_key(seed, f"{stage}:{position}"))
            for position in positions
        ]

    def normal(self, shape: Sequence[int]) -> Float[Tensor, "batch ..."]:
        """Standard normal draws, (batch, *shape), float32."""
        rows = [torch.randn(tuple(shape), generator=g) for g in self.generators]
        return torch.stack(rows).to(self.device)

    def uniform(self) -> Float[Tensor, " batch"]:
        """Uniform draws in [0, 1), float32."""
        return torch.cat([torch.rand(1, generator=g) for g in self.generators]).to(self.device)

    def integers(self, high: int) -> Int[Tensor, " batch"]:
        """Whole numbers in [0, high)."""
        rows = [torch.randint(high, (1,), generator=g) for g in self.generators]
        return torch.cat(rows).to(self.device)

    def bernoulli(self, probability: float) -> Bool[Tensor, " batch"]:
        """True with the given probability."""
        return self.uniform() < probability


def seed_layers(seed: int, stage: str, positions: Sequence[int]) -> None:
    """Seeds torch's own generator, which dropout layers draw from, for one part of one step.

    Dropout masks are the same after a resume, though not for another number of processes. And
    whatever else draws from that generator (a sample sheet, say) cannot disturb the training.
    """
    torch.manual_seed(stream_key(seed, f"{stage}:layers:{positions[0]}"))
