"""Runs the suite: all figures that world, model and judge allow, and the names of the others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from unclip.evaluation.enlarging import enlarging
from unclip.evaluation.figures import (
    Advance,
    Bench,
    Figure,
    shows_colour,
    shows_count,
    shows_no_colour,
)
from unclip.evaluation.judge import Judge
from unclip.evaluation.suite import GROUPS, RETRIEVAL, SHORT, Artist, Case, Group, Plan, World

TEXTS: Mapping[Group, str] = {
    "seen": "R-precision@1 of 100, seen compositions",
    "heldout_compositions": "R-precision@1 of 100, held-out compositions",
    "heldout_drawings": "R-precision@1 of 100, held-out drawings",
    "heldout_concepts": "R-precision@1 of 100, held-out concepts",
    "colour": "colour asked for is the dominant one",
    "grey": "black and white has no colour",
    "count": "two to four things, counted",
    "sides": "left and right as asked",
    "astronaut": "astronaut riding a horse, pencil drawing: first of 21",
    "diversity": "distance of two pictures of one prompt",
    "things": "R-precision@1 of 100, single things by their names alone",
}
DISTRIBUTION = "KID and FID"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What a run of the suite found."""

    world: str
    judge: str
    """Its fingerprint."""
    figures: tuple[Figure, ...]
    left_out: tuple[str, ...]
    """Figures that this world cannot give, each with what it would take."""

    def __getitem__(self, key: str) -> Figure:
        """Returns the figure of that key."""
        return next(figure for figure in self.figures if figure.key == key)


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """The cases that will be painted, known before the first picture."""

    plan: Plan
    cases: Mapping[Group, Sequence[Case]]
    left_out: tuple[str, ...]

    @property
    def totals(self) -> dict[str, int]:
        """Pictures of every part of the suite."""
        found = {str(group): len(cases) for group, cases in self.cases.items()}
        if self.plan.variations:
            found["variations"] = min(self.plan.variations, len(self.cases["seen"]))
        if self.plan.enlarged:
            found["upsampling"] = sum(self.plan.enlarged.values())
        return found


def lay_out(world: World, plan: Plan, sizes: Sequence[int]) -> Work:
    """Chooses the cases of a plan; sizes that the model does not paint are left out."""
    wanted: list[Group] = [group for group in GROUPS if plan.pictures.get(group)]
    cases: dict[Group, list[Case]] = {
        group: world.cases(group, plan.pictures[group]) for group in wanted
    }
    left_out = [
        f"{TEXTS[group]} (needs {world.needs(group)})" for group in wanted if not cases[group]
    ]
    enlarged = {size: count for size, count in plan.enlarged.items() if size in sizes[1:]}
    has_reference = world.num_reference >= plan.reference
    if not has_reference:
        left_out.append(f"{DISTRIBUTION} (needs {world.needs(None)})")
    plan = Plan(
        pictures=plan.pictures,
        variations=plan.variations,
        reference=plan.reference if has_reference else 0,
        enlarged=enlarged,
    )
    kept: dict[Group, list[Case]] = {group: found for group, found in cases.items() if found}
    return Work(plan=plan, cases=kept, left_out=tuple(left_out))


def measure(artist: Artist, judge: Judge, world: World, work: Work, advance: Advance) -> Measured:
    """Paints all cases and takes all figures; the same model gives the same figures.

    Raises:
        DataError: the world has too few different cases.
        BackendError: true pictures of a large size need an SVG renderer that is not installed.
    """
    bench = Bench(artist, judge, world, advance)
    # First, since it is what can fail: it takes the SVG renderer, and painting takes minutes.
    renders = [world.renders(count, size) for size, count in work.plan.enlarged.items()]
    figures: list[Figure] = []
    for group, cases in work.cases.items():
        figures.append(_one(bench, group, cases))
    if work.plan.reference:
        reference = world.reference(work.plan.reference, bench.size_px)
        figures += bench.distribution(judge.see(reference))
    if work.plan.variations:
        figures += bench.variations(work.cases["seen"][: work.plan.variations])
    for truth in renders:
        figures += enlarging(artist, truth, advance)
    return Measured(
        world=world.name,
        judge=judge.name,
        figures=tuple(figures),
        left_out=work.left_out,
    )


def _one(bench: Bench, group: Group, cases: Sequence[Case]) -> Figure:
    text = TEXTS[group]
    if group in RETRIEVAL:
        return bench.retrieval(group, cases, text)
    if group == "astronaut":
        return bench.astronaut(cases, text)
    if group == "diversity":
        return bench.diversity(cases, text)
    checks: dict[Group, Callable] = {
        "colour": shows_colour,
        "grey": shows_no_colour,
        "count": shows_count,
        "sides": bench.shows_sides,
    }
    return bench.checked(group, cases, text, checks[group])


def short_score(
    artist: Artist, judge: Judge, world: World, advance: Advance = lambda _: None
) -> float:
    """Returns one number in [0, 1] that says which of two models to keep, in two minutes.

    It is the mean of the short suite's shares, each over its ceiling and at most 1.

    Raises:
        DataError: the world has too few different cases.
    """
    work = lay_out(world, SHORT, artist.sizes)
    return score(measure(artist, judge, world, work, advance))


def score(measured: Measured) -> float:
    """Returns the mean of all shares, each over its ceiling and at most 1."""
    parts = [
        min(1.0, figure.made.value / figure.real.value)
        for figure in measured.figures
        if figure.unit == "share" and figure.real is not None and figure.real.value > 0
    ]
    return sum(parts) / len(parts)
