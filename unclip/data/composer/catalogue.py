"""What each drawing can be used for in a scene, and what its caption calls it."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from unclip.data.drawings.records import Drawing
from unclip.errors import ConfigError

Role = Literal["thing", "rider", "mount", "hat", "face"]
ROLES: tuple[Role, ...] = get_args(Role)

SOURCES = (
    *("noto", "noto-v1", "twemoji", "fluent-emoji", "fluent-flat", "fluent-3d", "fluent-hc"),
    *("emojione", "emojione-mono", "fxemoji", "streamline-emojis"),
)
"""Sources that draw nearly all of the emoji, so that a scene finds all it needs in one of them."""
BLACK = frozenset(("fluent-hc", "emojione-mono"))
"""Sources that are drawn in black: no colour is ever named."""

THING_GROUPS = frozenset(("animals-nature", "food-drink", "travel-places", "activities", "objects"))
NO_THINGS = frozenset(
    (
        *("time", "sky-weather", "place-map", "phone", "mail", "writing", "lock", "light-video"),
        *("science", "arrow", "award-medal", "other-object", "money", "office", "sound"),
        *("medical", "music"),
    )
)
"""Subgroups that nobody would put into a scene."""
RIDERS = frozenset(("person-role", "person-fantasy", "person"))
NO_RIDER = re.compile(r"\b(pregnant|breast-feeding|feeding|with|beard|hair)\b")
ANIMAL_RIDERS = frozenset(("1F916", "1F47D", "1F47B", "1F435", "1F43B", "1F427", "1F431", "1F436"))
MOUNTS = frozenset(
    (
        *("1F40E", "1F418", "1F42A", "1F42B", "1F404", "1F416", "1F411", "1F405"),
        *("1F406", "1F415", "1F422", "1F409", "1F995", "1F996", "1F40A", "1F98F"),
        *("1F992", "1F410", "1F402", "1F403", "1F407", "1F998", "1F6B2", "1F3CD"),
        *("1F6F5", "1F98C", "1F9A2", "1F986", "1F993"),
    )
)
HATS = frozenset(["1F3A9", "1F451", "1F9E2", "1F452", "1F393", "1FA96", "26D1"])
FACES = frozenset(
    [
        "1F98A",
        "1F43B",
        "1F43C",
        "1F428",
        "1F981",
        "1F438",
        "1F916",
        "1F47D",
        "1F383",
        "1F431",
        "1F436",
    ]
)
FACE_SUBGROUPS = frozenset(("animal-mammal", "animal-amphibian", "animal-bird"))

NOUNS = {
    "1F42A": "camel",
    "1F42B": "camel",
    "1F9E2": "cap",
    "26D1": "rescue helmet",
    "1F452": "sun hat",
    "1F393": "graduation cap",
    "1FA96": "army helmet",
    "1F3CD": "motorcycle",
    "1F6F5": "scooter",
    "1F995": "long-necked dinosaur",
    "1F996": "dinosaur",
    "1F697": "car",
    "1F3B8": "guitar",
}
"""Where people say something else than the emoji's name."""
NOUN = re.compile(r"[a-z]+(-[a-z]+)?( [a-z]+){0,2}")
UNCOUNTED = frozenset(
    (
        *("water", "rice", "bread", "milk", "ice", "fire", "snow", "money", "paper", "grass"),
        *("cheese", "bacon", "butter", "honey", "salt", "spaghetti", "sushi", "popcorn", "hair"),
        *("wood", "coral", "clothing", "luggage", "garlic", "bowling", "badminton", "cricket"),
    )
)
"""Nouns that have no plural, and no article."""
PHRASE = re.compile(r"\b(and|of|in|on|at|off|up|down|facing|taking)\b")
"""What makes a name more than a noun."""
PLURAL = re.compile(r"([^su]s|fries|scissors|glasses)$")
MIN_COVERAGE = 0.06


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A drawing and its uses."""

    drawing: Drawing
    noun: str
    roles: frozenset[Role]
    countable: bool
    """It can be said in the plural: two dogs, but not two trousers."""


class Catalogue:
    """The drawings that scenes are made of, in a fixed order."""

    def __init__(
        self,
        drawings: Sequence[Drawing],
        *,
        sources: Sequence[str] = (),
        max_concepts: int | None = None,
        vector_only: bool = False,
    ) -> None:
        """Chooses the drawings that scenes can use.

        Args:
            sources: of the drawings; none takes all that draw nearly every emoji.
            max_concepts: keeps those that most sources draw, things and riders alike; mounts, hats
                and faces stay.
            vector_only: leaves out what cannot be rendered at any size.

        Raises:
            ConfigError: a source is unknown, or nothing is left.
        """
        for source in sources:
            if source not in SOURCES:
                raise ConfigError(
                    f"scenes cannot use the source {source!r}: choose of {', '.join(SOURCES)}"
                )
        wanted = sources or SOURCES
        seen: set[tuple[str, str]] = set()
        entries = []
        for drawing in sorted(drawings, key=lambda drawing: drawing.id):
            usable = drawing.source in wanted and not drawing.tone and drawing.hexcode
            key = (drawing.source, drawing.hexcode or "")
            if not usable or key in seen or (vector_only and drawing.svg is None):
                continue
            entry = _entry(drawing)
            if entry.roles:
                seen.add(key)
                entries.append(entry)
        self.entries = tuple(_most_drawn(entries, max_concepts))
        self.by_role = self._sort()
        self.sources = tuple(
            source for source in sorted(self.by_role) if len(self.by_role[source]["thing"]) >= 3
        )
        if not self.sources:
            raise ConfigError("this set has too few drawings for scenes: build more of its sources")

    def _sort(self) -> dict[str, dict[Role, list[int]]]:
        """Entries of each source, by role."""
        by_role: dict[str, dict[Role, list[int]]] = defaultdict(lambda: {r: [] for r in ROLES})
        for number, entry in enumerate(self.entries):
            for role in entry.roles:
                by_role[entry.drawing.source][role].append(number)
        return dict(by_role)

    def __len__(self) -> int:
        return len(self.entries)


def _entry(drawing: Drawing) -> Entry:
    code = drawing.hexcode or ""
    noun = NOUNS.get(code) or drawing.name.lower()
    if drawing.subgroup.startswith(("animal", "cat", "monkey")):
        noun = noun.removesuffix(" face")
    roles: set[Role] = set()
    plain = bool(NOUN.fullmatch(noun)) and drawing.coverage >= MIN_COVERAGE
    if plain and drawing.group in THING_GROUPS and drawing.subgroup not in NO_THINGS:
        roles.add("thing")
    if plain and (drawing.subgroup in RIDERS or code in ANIMAL_RIDERS):
        roles |= set() if NO_RIDER.search(noun) else {"rider"}
    if code in MOUNTS:
        roles.add("mount")
    if code in HATS:
        roles.add("hat")
    if code in FACES or (drawing.subgroup in FACE_SUBGROUPS and "face" in drawing.name):
        roles.add("face")
    countable = not PLURAL.search(noun) and not PHRASE.search(noun)
    countable = countable and noun.split()[-1] not in UNCOUNTED | {"claus", "skis"}
    return Entry(drawing=drawing, noun=noun, roles=frozenset(roles), countable=countable)


def _most_drawn(entries: Sequence[Entry], max_concepts: int | None) -> list[Entry]:
    if max_concepts is None:
        return list(entries)
    counts: Counter[str] = Counter()
    for role in ("thing", "rider"):
        found = Counter(entry.noun for entry in entries if role in entry.roles)
        # Equal ones in alphabetical order, so that the choice does not hang on the set's order.
        best = sorted(found, key=lambda noun: (-found[noun], noun))[:max_concepts]
        counts.update(best)
    special = {"mount", "hat", "face"}
    return [entry for entry in entries if entry.noun in counts or entry.roles & special]
