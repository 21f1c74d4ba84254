"""Where a sampler's randomness comes from: an explicit source, never the global generator."""

import hashlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Generator, Tensor


@runtime_checkable
class Noise(Protocol):
    """Gives standard normal draws, float32 on the CPU."""

    def __call__(self, shape: Sequence[int]) -> Tensor:
        """Draws one sample of `shape` for every picture: (batch, *shape)."""
        ...

    def fork(self, label: str) -> "Noise":
        """Returns a source of its own for a part of the stage."""
        ...


class SeededNoise:
    """One CPU generator for each (seed, stage): a picture's noise depends on its own seed alone."""

    def __init__(self, seeds: Sequence[int], stage: str) -> None:
        self.seeds, self.stage = tuple(seeds), stage
        self.generators = [Generator().manual_seed(stream_key(seed, stage)) for seed in seeds]

    def __call__(self, shape: Sequence[int]) -> Tensor:
        """Draws every picture's noise from its own generator."""
        return torch.stack([torch.randn(tuple(shape), generator=g) for g in self.generators])

    def fork(self, label: str) -> "SeededNoise":
        """Returns fresh generators for (seed, stage/label)."""
        return SeededNoise(self.seeds, f"{self.stage}/{label}")


class GeneratorNoise:
    """diffusers' way: one generator draws the whole batch in turn, or a list draws a row each."""

    def __init__(self, batch: int, generator: Generator | Sequence[Generator]) -> None:
        self.batch, self.generator = batch, generator

    def __call__(self, shape: Sequence[int]) -> Tensor:
        """Draws in diffusers' order, on the generator's device."""
        if isinstance(self.generator, Generator):
            device = self.generator.device
            return torch.randn((self.batch, *shape), generator=self.generator, device=device)
        rows = [torch.randn((1, *shape), generator=g, device=g.device) for g in self.generator]
        return torch.cat(rows)

    def fork(self, label: str) -> "GeneratorNoise":
        """Returns itself: there is one order of draws."""
        return self


def stream_key(seed: int, stage: str) -> int:
    """Hashes a seed and a stage to a generator's seed, so that no two streams are related."""
    digest = hashlib.sha256(f"{seed}:{stage}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
