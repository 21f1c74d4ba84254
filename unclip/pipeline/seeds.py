"""Whose noise a picture gets: its own seed's, or diffusers' generators'."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Generator

from unclip.diffusion.noise import GeneratorNoise, Noise, SeededNoise
from unclip.errors import InputError
from unclip.pipeline.requests import as_list, check_seeds, draw_seed, is_list, whole_number

Seed = int | Sequence[int] | None
Generators = Generator | Sequence[Generator] | None


@dataclass(frozen=True)
class Randomness:
    """The sources of a number of pictures: a seed each, one generator, or a generator each."""

    count: int
    seeds: tuple[int, ...] | None = None
    generator: Generator | tuple[Generator, ...] | None = None

    def noise(self, stage: str) -> Noise:
        """Returns one stage's noise for all the pictures."""
        if self.seeds is not None:
            return SeededNoise(self.seeds, stage)
        assert self.generator is not None, "made by choose_randomness"
        return GeneratorNoise(self.count, self.generator)

    def part(self, rows: slice) -> "Randomness":
        """Returns the sources of some of the pictures."""
        count = len(range(self.count)[rows])
        if self.seeds is not None:
            return Randomness(count, seeds=self.seeds[rows])
        if isinstance(self.generator, tuple):
            return Randomness(count, generator=self.generator[rows])
        return Randomness(count, generator=self.generator)

    @property
    def divisible(self) -> bool:
        """Whether pictures can be made one batch after another: a lone generator draws for all."""
        return not isinstance(self.generator, Generator)


def choose_randomness(count: int, seed: Seed, generator: Generators) -> Randomness:
    """Picture i gets the seed `seed` + i, or its own of a list; without any, one is drawn.

    Raises:
        InputError: both a seed and a generator, a seed out of range, or a list of another length.
    """
    if seed is not None and generator is not None:
        raise InputError("got both a seed and a generator: give one of them")
    if generator is not None:
        if isinstance(generator, Generator):
            return Randomness(count, generator=generator)
        generators = tuple(as_list(generator))
        for item in generators:
            if not isinstance(item, Generator):
                raise InputError(f"got {item!r} as a generator, expected torch.Generator")
        _check_length("generators", len(generators), count)
        return Randomness(count, generator=generators)
    if seed is None:
        seed = draw_seed()
    if is_list(seed):
        seeds = tuple(as_list(seed))
        _check_length("seeds", len(seeds), count)
    else:
        first = whole_number("seed", seed)
        seeds = tuple(first + i for i in range(count))
    return Randomness(count, seeds=check_seeds(seeds))


def _check_length(what: str, got: int, expected: int) -> None:
    if got != expected:
        raise InputError(f"got {got} {what} for {expected} pictures: give one each")
