"""The pictures that the judge ranks worst, found by a rule."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from benchmarks.pocket_page.sheets import Cell
from unclip.errors import DataError
from unclip.evaluation.figures import Bench
from unclip.evaluation.judge import Judge
from unclip.evaluation.retrieval import ranks
from unclip.evaluation.suite import RETRIEVAL, Artist, Case, Group, World
from unclip.training.sheets import contact_sheet

SHOWN_PX = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A picture, the true one of the same prompt, and where the judge puts its caption."""

    group: Group
    prompt: str
    rank: int
    """Of its caption among 100; 1 is the first."""
    made: Tensor
    real: Tensor

    def cell(self) -> Cell:
        """The picture, and the true one to its right."""
        pair = contact_sheet(torch.stack([self.made, self.real]), columns=2)
        image = pair.resize((2 * SHOWN_PX, SHOWN_PX), Image.Resampling.NEAREST)
        return Cell(image=image, label=f"{self.rank}: {self.prompt}")


def worst(
    artist: Artist, judge: Judge, world: World, *, looked_at: int, shown: int
) -> list[Failure]:
    """Returns the pictures of the highest ranks among the first ones of each of the suite's
    retrieval groups, painted with the suite's seeds; of equal ranks the suite's first.

    Args:
        looked_at: pictures of each group.
        shown: of them, how many are returned.

    Raises:
        DataError: the world has too few different cases.
    """
    found: list[Failure] = []
    bench = Bench(artist, judge, world, lambda _: None)
    for group in RETRIEVAL:
        cases = world.cases(group, looked_at)
        if not cases:
            continue  # as in the suite, which says that it was left out
        if len(cases) < shown:
            raise DataError(f"the set has {len(cases)} cases of {group}, expected {shown} or more")
        found += sorted(_ranked(bench, group, cases), key=lambda failure: -failure.rank)[:shown]
    return found


def _ranked(bench: Bench, group: Group, cases: Sequence[Case]) -> Iterator[Failure]:
    rivals = bench.rivals(group, len(cases))
    made = bench.paint(group, cases)
    real = bench.world.truth(cases, bench.size_px)
    places = ranks(bench.judge.see(made), rivals).tolist()
    for case, rank, picture, true in zip(cases, places, made, real, strict=True):
        yield Failure(group=group, prompt=case.prompt, rank=rank, made=picture, real=true)
