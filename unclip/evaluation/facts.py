"""What a prompt says its picture shows, and how the judge is asked about it.

The judge is asked in words of its own (`question`), never in those of the prompt: so it cannot know
the templates that the model's own CLIP was trained on, and whoever changes these changes no figure.
"""

from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["single", "pair", "above", "row", "count", "size", "ride", "wear"]

_TIMES = {2: "twice", 3: "three times", 4: "four times", 5: "five times", 6: "six times"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """A thing in a picture."""

    noun: str
    colour: str | None = None
    """None where the prompt names none."""

    @property
    def words(self) -> str:
        """Its name, without an article."""
        return f"{self.colour} {self.noun}" if self.colour else self.noun


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What a prompt says of its picture; nothing that it leaves open."""

    kind: Kind
    things: tuple[Shown, ...]
    """Left to right, top to bottom, large then small, rider then mount, head then hat."""
    count: int | None = None
    """How often the one thing is there, where the kind is `count`."""
    style: str | None = None
    ground: str | None = None
    """The colour of a plain background."""
    place: str | None = None
    """A scenery, with its preposition: `in the snow`."""


def question(facts: Facts) -> str:
    """Says the facts in the judge's words."""
    parts = [_core(facts)]
    if facts.place:
        parts.append(f"place: {facts.place}")
    if facts.ground:
        parts.append(f"ground: {facts.ground}")
    if facts.style:
        parts.append(f"look: {facts.style}")
    return " | ".join(parts)


def _core(facts: Facts) -> str:
    names = [thing.words for thing in facts.things]
    match facts.kind:
        case "single":
            return names[0]
        case "pair":
            return f"left {names[0]}, right {names[1]}"
        case "above":
            return f"top {names[0]}, bottom {names[1]}"
        case "row":
            return "from left: " + ", ".join(names)
        case "count":
            assert facts.count is not None, "a count has a number"
            return f"{names[0]}, {_TIMES[facts.count]}"
        case "size":
            return f"large {names[0]} with little {names[1]}"
        case "ride":
            return f"{names[1]} carries {names[0]}"
        case "wear":
            return f"{names[1]} on head of {names[0]}"


def wordings(facts: Facts) -> list[str]:
    """Says the facts with less and less detail: what the judge learns of one picture."""
    plain = replace(facts, things=tuple(Shown(noun=thing.noun) for thing in facts.things))
    said = [
        facts,
        replace(facts, style=None),
        replace(facts, ground=None),
        replace(facts, style=None, ground=None),
        replace(facts, style=None, ground=None, place=None),
        replace(plain, ground=None),
        replace(plain, style=None, ground=None, place=None),
    ]
    return list(dict.fromkeys(question(less) for less in said))


RIDERS = ("cat", "dog", "penguin", "bird", "robot", "wizard", "firefighter")
MOUNTS = ("elephant", "camel", "turtle", "dog", "pig", "cow", "dragon")
STYLES = ("cartoon", "flat illustration", "pixel art", "watercolor painting", "oil painting")

ASTRONAUT_PROMPT = "an astronaut riding a horse, pencil drawing"
ASTRONAUT = Facts(
    kind="ride",
    things=(Shown(noun="astronaut"), Shown(noun="horse")),
    style="pencil drawing",
)


def astronaut_swaps() -> list[Facts]:
    """Returns twenty neighbours of the astronaut on the horse: another rider (7), mount (7), style
    (5), and rider and mount swapped (1)."""
    astronaut, horse = ASTRONAUT.things
    pairs = [(Shown(noun=rider), horse) for rider in RIDERS]
    pairs += [(astronaut, Shown(noun=mount)) for mount in MOUNTS]
    pairs += [(horse, astronaut)]
    swaps = [replace(ASTRONAUT, things=pair) for pair in pairs]
    return swaps + [replace(ASTRONAUT, style=style) for style in STYLES]
