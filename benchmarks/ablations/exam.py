"""The fixed scenes that every arm is examined on, and what the judge says of its pictures.

Scenes of a world's seen and held-out compositions, by a seed that no training and no suite uses.
"""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from unclip.data.composer.dataset import open_scenes
from unclip.data.composer.painter import Painter
from unclip.data.composer.world import World, WorldSettings
from unclip.evaluation.composed import PAINTED, case_of
from unclip.evaluation.intervals import Estimate, mean, share
from unclip.evaluation.judge import Judge
from unclip.evaluation.retrieval import finds_own
from unclip.evaluation.suite import POOL, Case

SEED = 700_011
FIRST_SEED = 950_000
"""Of the first picture's noise; the next ones count up."""
GROUPS = ("seen", "heldout")


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Scenes of one group."""

    cases: tuple[Case, ...]
    truth: Tensor
    """Their true pictures, in [-1, 1]."""
    rivals: Tensor
    """The judge's features of each case's caption and 99 others, its own first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exam:
    """What is asked."""

    parts: dict[str, Part]

    @property
    def cases(self) -> list[Case]:
        """Of all groups, one after the other."""
        return [case for part in self.parts.values() for case in part.cases]

    @property
    def truth(self) -> Tensor:
        """Their true pictures."""
        return torch.cat([part.truth for part in self.parts.values()])

    @property
    def seeds(self) -> list[int]:
        """Of their noise."""
        return [FIRST_SEED + number for number in range(len(self.cases))]


@dataclass(frozen=True, kw_only=True, slots=True)
class Grades:
    """What the judge says of the pictures of one arm, picture by picture."""

    found: dict[str, list[bool]]
    """By group: whether the judge told its caption from 99 others."""
    cosines: list[float]
    """Of the judge's features, to the true picture."""

    def figures(self, baseline: "Grades | None" = None) -> dict[str, Estimate]:
        """Shares with Wilson's interval, means with the bootstrap's; the gain over the baseline is
        the mean of the differences picture by picture, whose interval is the narrowest."""
        found = {
            f"retrieval_{group}": share(torch.tensor(hits)) for group, hits in self.found.items()
        }
        found["cosine"] = mean(torch.tensor(self.cosines))
        if baseline is not None:
            gains = torch.tensor(self.cosines) - torch.tensor(baseline.cosines)
            found["cosine_gain"] = mean(gains)
        return found


def write_exam(
    folder: Path, settings: WorldSettings, judge: Judge, size_px: int, counts: dict[str, int]
) -> Exam:
    """Chooses and paints the scenes of a set; the same ones every time.

    Args:
        counts: scenes of each group of `GROUPS`.

    Raises:
        DataError: the set cannot be read, or has too few different scenes.
    """
    seen, sprites = open_scenes(folder, settings, seed=SEED)
    heldout = World(seen.catalogue, sprites, settings, SEED, heldout=True)
    painter = Painter(sprites, size_px)
    parts = {}
    for group, world in zip(GROUPS, (seen, heldout), strict=True):
        count = counts.get(group, 0)
        if not count:
            continue
        pool = [case_of(world.describe(number)) for number in range(max(POOL, count))]
        cases = tuple(islice(pool, count))
        scenes = [case.key for case in cases]
        painted = [painter.paint(scenes[i : i + PAINTED]) for i in range(0, count, PAINTED)]
        rivals = judge.rivals([case.facts for case in pool], count)
        parts[group] = Part(cases=cases, truth=torch.cat(painted), rivals=rivals)
    return Exam(parts=parts)


def grade(judge: Judge, exam: Exam, images: Tensor) -> Grades:
    """Judges the pictures of all cases, in the exam's order."""
    found, start = {}, 0
    made, real = judge.see(images), judge.see(exam.truth)
    for group, part in exam.parts.items():
        rows = made[start : start + len(part.cases)]
        found[group] = finds_own(rows, part.rivals).tolist()
        start += len(part.cases)
    return Grades(found=found, cosines=(made * real).sum(dim=1).tolist())
