"""The fixed cases that a model is measured on, and what must be there to measure it.

A case is a prompt, the facts that it states, and a key to the true pictures of it. A world knows
the cases and paints the truth; an artist is the model. Neither is known here by more than its
protocol, so the suite depends on no pipeline.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from unclip.evaluation.facts import Facts

Group = Literal[
    "seen",
    "heldout_compositions",
    "heldout_drawings",
    "heldout_concepts",
    "colour",
    "grey",
    "count",
    "sides",
    "astronaut",
    "diversity",
    "things",
]
GROUPS: tuple[Group, ...] = get_args(Group)
RETRIEVAL: tuple[Group, ...] = (*GROUPS[:4], "things")
"""Where a picture is asked for its caption among 100."""

POOL = 400
"""Cases of a group whose captions compete, whether or not they are painted."""
TAKES = 4
"""Pictures of one prompt from which the diversity is told."""
FIRST_SEED: Mapping[str, int] = {group: 10_000 * place for place, group in enumerate(GROUPS)} | {
    "astronaut": 0,
    "variations": 900_000,
    "upsampling": 910_000,
}
"""Of a group's first picture; the next ones count up. The astronaut's are those a user sees."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A prompt and what its picture must show."""

    prompt: str
    facts: Facts
    key: Any
    """Tells its world which pictures are true."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How many pictures each figure is taken from."""

    pictures: Mapping[Group, int]
    """By group; a group that is left out is not measured."""
    variations: int = 0
    reference: int = 0
    """Real pictures for FID and KID."""
    enlarged: Mapping[int, int]
    """True pictures that are shrunk and enlarged again, by their size in pixels."""


FULL = Plan(
    pictures={
        "seen": 200,
        "heldout_compositions": 200,
        "heldout_drawings": 150,
        "heldout_concepts": 150,
        "colour": 96,
        "grey": 48,
        "count": 72,
        "sides": 72,
        "astronaut": 8,
        "diversity": 64,
        "things": 120,
    },
    variations=64,
    reference=5000,
    enlarged={256: 24, 1024: 6},
)
SHORT = Plan(
    pictures={
        "seen": 32,
        "heldout_compositions": 24,
        "colour": 24,
        "grey": 8,
        "astronaut": 8,
        "things": 24,
    },
    enlarged={},
)
"""A hundred and twenty pictures, for two minutes at most on a CPU."""


@runtime_checkable
class World(Protocol):
    """Knows cases, and paints what they truly look like."""

    @property
    def name(self) -> str:
        """What the figures are about."""
        ...

    @property
    def num_reference(self) -> int:
        """Real pictures that `reference` can give."""
        ...

    def needs(self, group: Group | None) -> str:
        """Says what it would take to have a group that it does not know; None is the reference."""
        ...

    def cases(self, group: Group, count: int) -> list[Case]:
        """Returns the first cases of a group, always the same; none if it does not know any."""
        ...

    def truth(
        self, cases: Sequence[Case], size_px: int, take: int = 0
    ) -> Float[Tensor, "batch 3 size size"]:
        """Paints one true picture of each case, in [-1, 1]; another take differs where it can."""
        ...

    def reference(self, count: int, size_px: int) -> Float[Tensor, "batch 3 size size"]:
        """Returns real pictures that no model was trained on."""
        ...

    def renders(self, count: int, size_px: int) -> Float[Tensor, "batch 3 size size"]:
        """Returns true pictures of a large size."""
        ...


@runtime_checkable
class Artist(Protocol):
    """A model that is measured."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes it paints, in pixels a side."""
        ...

    def paint(
        self, prompts: Sequence[str], seeds: Sequence[int]
    ) -> Float[Tensor, "batch 3 size size"]:
        """Paints prompts at the smallest size, in [-1, 1]."""
        ...

    def vary(
        self, images: Float[Tensor, "batch 3 size size"], seeds: Sequence[int]
    ) -> Float[Tensor, "batch 3 size size"]:
        """Makes a variation of each picture, at the smallest size."""
        ...

    def enlarge(
        self, images: Float[Tensor, "batch 3 size size"], seeds: Sequence[int]
    ) -> Float[Tensor, "batch 3 large large"]:
        """Enlarges pictures to the next size, without noise on them and deterministically."""
        ...
