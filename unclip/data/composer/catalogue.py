"""What each drawing can be used for in a scene, and what its caption calls it."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from unclip.data.composer.nouns import (
    ALL_NOUNS,
    FACES,
    HATS,
    MOUNTS,
    PEOPLE,
    RIDERS,
    THINGS,
)
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

SEX = re.compile(r"^(male|female|man|woman) (?=.)")
"""Of a role that is drawn as a man and as a woman; scenes take what is drawn as neither, if it is
there, and else the man or the woman, by the same word."""
UNCOUNTED = frozenset(
    (
        *("water", "rice", "bread", "milk", "ice", "fire", "snow", "money", "paper", "grass"),
        *("cheese", "bacon", "butter", "honey", "salt", "spaghetti", "sushi", "popcorn", "hair"),
        *("wood", "coral", "clothing", "luggage", "garlic", "bowling", "badminton", "cricket"),
    )
)
"""Nouns that have no plural, and no article."""
PEOPLE_GROUP = "people-body"
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
        nouns: Sequence[str] = (),
        vector_only: bool = False,
    ) -> None:
        """Chooses the drawings that scenes can use.

        Args:
            sources: of the drawings; none takes all that draw nearly every emoji.
            nouns: keeps these alone; none keeps all.
            vector_only: leaves out what cannot be rendered at any size.

        Raises:
            ConfigError: a source or a noun is unknown, or nothing is left.
        """
        for noun in nouns:
            if noun not in ALL_NOUNS:
                raise ConfigError(
                    f"scenes have no word {noun!r}: choose of unclip/data/composer/nouns.py"
                )
        for source in sources:
            if source not in SOURCES:
                raise ConfigError(
                    f"scenes cannot use the source {source!r}: choose of {', '.join(SOURCES)}"
                )
        wanted = sources or SOURCES
        seen: set[tuple[str, str]] = set()
        entries = []
        for drawing in sorted(drawings, key=lambda drawing: (_is_gendered(drawing), drawing.id)):
            usable = drawing.source in wanted and not drawing.tone and drawing.hexcode
            entry = _entry(drawing) if usable else None
            if entry is None or (nouns and entry.noun not in nouns):
                continue
            if vector_only and drawing.svg is None:
                continue
            person = drawing.group == PEOPLE_GROUP
            key = (drawing.source, entry.noun if person else drawing.hexcode or "")
            if key not in seen:
                seen.add(key)
                entries.append(entry)
        entries.sort(key=lambda entry: entry.drawing.id)
        self.entries = tuple(entries)
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


def _is_gendered(drawing: Drawing) -> bool:
    return bool(SEX.match(drawing.name.lower()))


def _entry(drawing: Drawing) -> Entry | None:
    """What a drawing can be used for; None where scenes have no word for it."""
    code = drawing.hexcode or ""
    name = drawing.name.lower()
    person = PEOPLE.get(SEX.sub("", name)) if drawing.group == PEOPLE_GROUP else None
    uses: dict[Role, str | None] = {
        "thing": THINGS.get(code),
        "rider": person or RIDERS.get(code),
        "mount": MOUNTS.get(code),
        "hat": HATS.get(code),
        "face": FACES.get(code),
    }
    roles: frozenset[Role] = frozenset(role for role in ROLES if uses[role])
    if not roles or drawing.coverage < MIN_COVERAGE:
        return None
    (noun,) = {noun for noun in uses.values() if noun}
    countable = not PLURAL.search(noun) and noun.split()[-1] not in UNCOUNTED | {"claus"}
    return Entry(drawing=drawing, noun=noun, roles=roles, countable=countable)
