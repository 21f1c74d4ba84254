"""The pictures that the judge ranks worst, found by a rule."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from benchmarks.pocket_page.sheets import Cell, side_by_side
from unclip.errors import DataError
from unclip.evaluation.facts import question
from unclip.evaluation.figures import BATCH
from unclip.evaluation.judge import Judge
from unclip.evaluation.retrieval import distractors
from unclip.evaluation.suite import FIRST_SEED, POOL, RETRIEVAL, Artist, Case, Group, World

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
        joined = side_by_side(_picture(self.made), _picture(self.real))
        return Cell(image=joined, label=f"{self.rank}: {self.prompt}")


def ranks(
    images: Float[Tensor, "batch dim"], candidates: Float[Tensor, "batch candidates dim"]
) -> Int[Tensor, " batch"]:
    """Returns each picture's rank of its first candidate; of equal ones it is the last."""
    scores = torch.einsum("bd,bkd->bk", images.double(), candidates.double())
    return (scores >= scores[:, :1]).sum(dim=1)


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
    for group in RETRIEVAL:
        cases = world.cases(group, looked_at)
        if not cases:
            continue  # as in the suite, which says that it was left out
        if len(cases) < shown:
            raise DataError(f"the set has {len(cases)} cases of {group}, expected {shown} or more")
        ranked = _ranked(artist, judge, world, group, cases)
        found += sorted(ranked, key=lambda failure: -failure.rank)[:shown]
    return found


def _ranked(
    artist: Artist, judge: Judge, world: World, group: Group, cases: Sequence[Case]
) -> Iterator[Failure]:
    pool = [case.facts for case in world.cases(group, POOL)]
    rows = distractors([question(facts) for facts in pool])[: len(cases)]
    first = FIRST_SEED[group]
    parts = []
    for start in range(0, len(cases), BATCH):
        some = cases[start : start + BATCH]
        seeds = range(first + start, first + start + len(some))
        parts.append(artist.paint([case.prompt for case in some], list(seeds)).float().cpu())
    made = torch.cat(parts)
    real = world.truth(cases, made.shape[-1])
    places = ranks(judge.see(made), judge.read(pool)[rows]).tolist()
    for case, rank, picture, true in zip(cases, places, made, real, strict=True):
        yield Failure(group=group, prompt=case.prompt, rank=rank, made=picture, real=true)


def _picture(image: Float[Tensor, "3 height width"]) -> Image.Image:
    pixels = ((image.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    picture = Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
    return picture.resize((SHOWN_PX, SHOWN_PX), Image.Resampling.NEAREST)
