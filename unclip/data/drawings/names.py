"""Names, keywords and groups of all emoji: Unicode CLDR by emojibase, and emojilib's keywords."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unclip.data.drawings.files import damaged, read_json
from unclip.data.drawings.packages import EMOJIBASE, EMOJILIB
from unclip.data.drawings.words import INTERFACE, NO_THINGS, THINGS, plain_words

GROUPS = (
    *("smileys-emotion", "people-body", "component", "animals-nature", "food-drink"),
    *("travel-places", "activities", "objects", "symbols", "flags"),
)
TONES = {
    "1F3FB": "light",
    "1F3FC": "medium-light",
    "1F3FD": "medium",
    "1F3FE": "medium-dark",
    "1F3FF": "dark",
}
THING_GROUPS = {"animals-nature", "food-drink", "travel-places", "objects"}
THING_SUBGROUPS = (
    *("person-role", "person-fantasy", "person-sport", "body-parts", "face-costume"),
    "heart",
)
TONE_IN_NAME = re.compile(r"(medium-light|medium-dark|light|medium|dark)-skin-tone")


@dataclass(frozen=True, kw_only=True, slots=True)
class Emoji:
    """What Unicode says of an emoji."""

    label: str
    keywords: tuple[str, ...]
    group: str
    subgroup: str
    hexcode: str
    """Without skin tones and U+FE0F."""
    tone: tuple[str, ...] | None = None


class EmojiNames:
    """All emoji, by code points and by name."""

    def __init__(self, emoji: dict[str, Emoji]) -> None:
        self._by_hexcode = emoji
        self._by_name: dict[str, Emoji] = {}
        self._by_glued: dict[str, Emoji] = {}
        neutral = [one for one in emoji.values() if one.tone is None]
        for one in neutral:
            self._by_name.setdefault(plain_words(re.sub(r"[^\w -]", "", one.label)), one)
            glued = re.sub(r"[^a-z0-9]", "", one.label.lower())
            self._by_glued.setdefault(glued, one)
            for word in ("face", "symbol", "button", "sign"):
                self._by_glued.setdefault(glued.replace(word, ""), one)
        self._things = frozenset(_things(emoji.values()))

    def by_hexcode(self, hexcode: str) -> Emoji | None:
        """Finds an emoji by its code points, joined by hyphens."""
        return self._by_hexcode.get(_without_variation(hexcode))

    def by_name(self, name: str) -> Emoji | None:
        """Finds an emoji by its name in plain words."""
        return self._by_name.get(name)

    def by_file_name(self, name: str) -> Emoji | None:
        """Finds an emoji by a name like `waving-hand-dark-skin-tone`."""
        one = self._by_name.get(plain_words(re.sub(rf"-?{TONE_IN_NAME.pattern}.*$", "", name)))
        if one is None or "skin-tone" not in name:
            return one
        return replace(one, tone=tuple(TONE_IN_NAME.findall(name)))

    def by_glued_name(self, name: str) -> Emoji | None:
        """Finds an emoji by its name without spaces and, perhaps, without `face` and the like."""
        return self._by_glued.get(name.lower())

    def thing(self, icon: str) -> str | None:
        """Names the thing that an interface icon shows: `food-drink-desert-cupcake` is a cupcake.

        Names only, not keywords: these are too loose to name a picture. None if it is no thing
        that a person would ask to have drawn.
        """
        variants = r"-(duo|flat|thin|light|bold|fill|duotone|outline|\d+)(?=-|$)"
        name = plain_words(re.sub(variants, "", icon))
        words = re.sub(r"\b(one|two|three|four|five|\d+)\b", "", name).split()
        for count in range(min(4, len(words)), 0, -1):
            end = " ".join(words[-count:])
            known = end in self._things or end.rstrip("s") in self._things
            if known and not (count == 1 and end in INTERFACE):
                return end
        return None


def read_names(cache: Path) -> EmojiNames:
    """Reads the emoji of the fetched packages.

    Raises:
        DataError: a file of the packages is missing or damaged.
    """
    base, remedy = EMOJIBASE.folder(cache), EMOJIBASE.root(cache)
    groups = read_json(base / "meta" / "groups.json", remedy=remedy)
    data = read_json(base / "en" / "data.json", remedy=remedy)
    path = EMOJILIB.folder(cache) / "dist" / "emoji-en-US.json"
    more = read_json(path, remedy=EMOJILIB.root(cache))
    try:
        emoji: dict[str, Emoji] = {}
        for entry in data:
            emoji |= _with_tones(entry, groups["subgroups"], more)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise damaged(base, f"is not as expected ({error!r})", remedy) from error
    return EmojiNames(emoji)


def _with_tones(
    entry: dict[str, Any], subgroups: dict[str, str], more: dict[str, list[str]]
) -> dict[str, Emoji]:
    """One entry of emojibase: an emoji and its skin tones."""
    keywords = [word.replace("_", " ") for word in more.get(entry["emoji"], [])[1:]]
    one = Emoji(
        label=entry["label"],
        keywords=tuple(dict.fromkeys([*entry.get("tags", []), *keywords])),
        group=GROUPS[entry["group"]] if "group" in entry else "component",
        subgroup=subgroups.get(str(entry.get("subgroup")), ""),
        hexcode=_without_variation(entry["hexcode"]),
    )
    found = {one.hexcode: one}
    for skin in entry.get("skins", []):
        hexcode = _without_variation(skin["hexcode"])
        tone = tuple(TONES[part] for part in hexcode.split("-") if part in TONES)
        found[hexcode] = replace(one, tone=tone)
    return found


def _without_variation(hexcode: str) -> str:
    return "-".join(part for part in hexcode.upper().split("-") if part != "FE0F")


def _things(emoji: Iterable[Emoji]) -> Iterator[str]:
    """The names of emoji that are things, and their last words."""
    for name in _thing_names(emoji):
        if name not in INTERFACE and name not in NO_THINGS:
            yield name


def _thing_names(emoji: Iterable[Emoji]) -> Iterator[str]:
    yield from THINGS
    for one in emoji:
        name = one.label.lower()
        things = one.group in THING_GROUPS or one.group == "activities"
        if things or one.subgroup.startswith(THING_SUBGROUPS):
            yield name
        if one.group in THING_GROUPS:
            yield name.split()[-1]
        if one.group == "animals-nature":
            yield name.replace(" face", "")
