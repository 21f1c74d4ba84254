"""The suite's figures: each of the model's, and the same of real pictures, its ceiling."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unclip.evaluation.colours import has_no_colour, is_dominant
from unclip.evaluation.counting import count_things, foreground
from unclip.evaluation.distribution import frechet_distance, kernel_distance
from unclip.evaluation.facts import ASTRONAUT, astronaut_swaps
from unclip.evaluation.intervals import Estimate, mean, share
from unclip.evaluation.judge import Judge, stands_left_and_right
from unclip.evaluation.retrieval import finds_own, pairwise_distance
from unclip.evaluation.suite import FIRST_SEED, POOL, RETRIEVAL, TAKES, Artist, Case, Group, World

Advance = Callable[[str], None]
"""Counts one picture of the group of that name."""
Check = Callable[[Tensor, Sequence[Case]], Bool[Tensor, " batch"]]
"""Says of each picture whether it shows what its case asks for."""

BATCH = 8
"""Pictures painted at a time."""
LEAST_DRAWN = 0.01
"""A picture of which less stands out from the background shows nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One figure of a model, with its ceiling."""

    key: str
    text: str
    """What it says, in a few words."""
    unit: str
    """`share`, `dB`, `px`, or nothing."""
    made: Estimate
    real: Estimate | None
    """The same of real pictures; None where there is no such thing."""
    reals: str = "real"
    """What the ceiling was taken from, where it is no real picture."""


class Bench:
    """A model before its judge, in a world."""

    def __init__(self, artist: Artist, judge: Judge, world: World, advance: Advance) -> None:
        self.artist, self.judge, self.world, self.advance = artist, judge, world, advance
        self.features: dict[Group, tuple[Tensor, Tensor]] = {}
        """The judge's, of the pictures made and of the true ones, by group of `RETRIEVAL`."""

    @property
    def size_px(self) -> int:
        """Side of the pictures that are judged."""
        return self.artist.sizes[0]

    def retrieval(self, group: Group, cases: Sequence[Case], text: str) -> Figure:
        """R-precision@1 of 100: is a picture nearer to its own caption than to 99 others?

        Raises:
            DataError: the world has too few different cases.
        """
        competing = self.rivals(group, len(cases))
        made = self.judge.see(self.paint(group, cases))
        real = self.judge.see(self.world.truth(cases, self.size_px))
        self.features[group] = made, real
        return Figure(
            key=f"retrieval_{group}",
            text=text,
            unit="share",
            made=share(finds_own(made, competing)),
            real=share(finds_own(real, competing)),
        )

    def checked(self, group: Group, cases: Sequence[Case], text: str, check: Check) -> Figure:
        """The share of pictures that show exactly what was asked for."""
        made = check(self.paint(group, cases), cases)
        real = check(self.world.truth(cases, self.size_px), cases)
        return Figure(key=group, text=text, unit="share", made=share(made), real=share(real))

    def astronaut(self, cases: Sequence[Case], text: str) -> Figure:
        """The share of seeds whose picture is nearer to the prompt than to its 20 neighbours."""
        competing = self.judge.read([ASTRONAUT, *astronaut_swaps()])

        def shown(images: Tensor) -> Estimate:
            rows = competing.expand(len(images), -1, -1)
            return share(finds_own(self.judge.see(images), rows))

        made, real = self.paint("astronaut", cases), self.world.truth(cases, self.size_px)
        return Figure(key="astronaut", text=text, unit="share", made=shown(made), real=shown(real))

    def diversity(self, cases: Sequence[Case], text: str) -> Figure:
        """How far pictures of one prompt lie apart in the judge's features."""
        prompts = [case for case in cases[: len(cases) // TAKES] for _ in range(TAKES)]
        made = self.judge.see(self.paint("diversity", prompts))
        takes = [
            self.judge.see(self.world.truth(cases[: len(cases) // TAKES], self.size_px, take))
            for take in range(TAKES)
        ]
        real = torch.stack(takes, dim=1)
        return Figure(
            key="diversity",
            text=text,
            unit="",
            made=mean(pairwise_distance(made.unflatten(0, (-1, TAKES)))),
            real=mean(pairwise_distance(real)),
        )

    def variations(self, cases: Sequence[Case]) -> list[Figure]:
        """Does a variation of a real picture keep what its caption says, and how near is it?"""
        truth = self.world.truth(cases, self.size_px)
        competing = self.rivals("seen", len(cases))
        seeds = [FIRST_SEED["variations"] + i for i in range(len(cases))]
        parts = []
        for start in range(0, len(cases), BATCH):
            rows_made = slice(start, start + BATCH)
            parts.append(self.artist.vary(truth[rows_made], seeds[rows_made]))
            self._count("variations", len(parts[-1]))
        made, real = self.judge.see(torch.cat(parts)), self.judge.see(truth)
        again = self.judge.see(self.world.truth(cases, self.size_px, take=1))
        return [
            Figure(
                key="variations_caption",
                text="variation keeps the caption, of 100",
                unit="share",
                made=share(finds_own(made, competing)),
                real=share(finds_own(real, competing)),
            ),
            Figure(
                key="variations_cosine",
                text="cosine of a variation and its picture",
                unit="",
                made=mean((made * real).sum(dim=1)),
                real=mean((again * real).sum(dim=1)),
                reals="another real",
            ),
        ]

    def distribution(self, reference: Float[Tensor, "batch dim"]) -> list[Figure]:
        """KID and FID of all pictures that were made for a caption, against real pictures."""
        groups = [self.features[group] for group in RETRIEVAL if group in self.features]
        made, real = (torch.cat([pair[side] for pair in groups]) for side in (0, 1))
        kid, kid_real = (1000 * kernel_distance(side, reference) for side in (made, real))
        fid, fid_real = (frechet_distance(side, reference) for side in (made, real))
        return [
            Figure(
                key="kid",
                text="KID x 1000 in the judge's features",
                unit="",
                made=_of_subsets(kid, len(made)),
                real=_of_subsets(kid_real, len(real)),
            ),
            Figure(
                key="fid",
                text="FID in the judge's features",
                unit="",
                made=Estimate(value=fid, low=fid, high=fid, count=len(made)),
                real=Estimate(value=fid_real, low=fid_real, high=fid_real, count=len(real)),
            ),
        ]

    def rivals(self, group: Group, count: int) -> Float[Tensor, "count candidates dim"]:
        """Reads what the first cases of a group compete with, each one's own caption first.

        Raises:
            DataError: the world has too few different cases.
        """
        return self.judge.rivals([case.facts for case in self.world.cases(group, POOL)], count)

    def paint(self, group: Group, cases: Sequence[Case]) -> Float[Tensor, "batch 3 size size"]:
        """Paints cases with their fixed seeds."""
        seeds = [FIRST_SEED[group] + i for i in range(len(cases))]
        prompts = [case.prompt for case in cases]
        parts = []
        for start in range(0, len(cases), BATCH):
            rows = slice(start, start + BATCH)
            parts.append(self.artist.paint(prompts[rows], seeds[rows]))
            self._count(group, len(parts[-1]))
        return torch.cat(parts)

    def _count(self, group: str, pictures: int) -> None:
        for _ in range(pictures):
            self.advance(group)

    def shows_sides(self, images: Tensor, cases: Sequence[Case]) -> Bool[Tensor, " batch"]:
        """Says where the first thing stands left and the second right."""
        return stands_left_and_right(self.judge, images, [case.facts for case in cases])


def shows_colour(images: Tensor, cases: Sequence[Case]) -> Bool[Tensor, " batch"]:
    """Says where the colour asked for is the dominant chroma."""
    return is_dominant(images, [case.facts.things[0].colour or "" for case in cases])


def shows_no_colour(images: Tensor, cases: Sequence[Case]) -> Bool[Tensor, " batch"]:
    """Says which pictures are black and white, and not blank."""
    drawn = foreground(images).float().mean(dim=(1, 2))
    return has_no_colour(images) & (drawn >= LEAST_DRAWN)


def shows_count(images: Tensor, cases: Sequence[Case]) -> Bool[Tensor, " batch"]:
    """Says where as many separate things are seen as were asked for."""
    asked = torch.tensor([case.facts.count or 0 for case in cases])
    return count_things(images) == asked


def _of_subsets(values: Tensor, count: int) -> Estimate:
    """The mean of subsets, and where 95 % of them lie: they overlap, so their mean is surer."""
    low, high = torch.quantile(values, values.new_tensor([0.025, 0.975])).tolist()
    return Estimate(value=float(values.mean()), low=low, high=high, count=count)
