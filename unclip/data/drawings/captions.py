"""Captions of a drawing: up to nine ways to say what it shows and how it looks."""

import random
import re

from unclip.data.drawings.grammar import with_article, with_tone
from unclip.data.drawings.words import COLOURS

SYNONYMS = {
    "automobile": "car",
    "sport utility vehicle": "SUV",
    "delivery truck": "truck",
    "articulated lorry": "big truck",
    "spouting whale": "whale",
    "two-hump camel": "camel",
    "ewe": "sheep",
    "ox": "bull",
    "person riding a bicycle": "cyclist",
    "hot beverage": "cup of coffee",
    "beer mug": "glass of beer",
    "soccer ball": "football",
    "french fries": "fries",
    "shortcake": "slice of cake",
    "evergreen tree": "pine tree",
    "deciduous tree": "tree",
    "red heart": "heart",
    "police car light": "siren",
    "sailboat": "sailing boat",
    "motor boat": "boat",
    "passenger ship": "cruise ship",
    "locomotive": "steam train",
    "bullet train": "train",
    "house with a garden": "house",
    "mage": "wizard",
    "male mage": "wizard",
    "woman mage": "witch",
    "cook": "chef",
    "male cook": "chef",
    "woman cook": "female chef",
    "police officer": "policeman",
    "health worker": "doctor",
    "grinning face": "smiley",
    "smiling face": "smiley",
    "snowman without snow": "snowman",
    "crescent moon": "moon",
    "sun with a face": "smiling sun",
    "rose": "rose flower",
    "cherry blossom": "flower",
    "teddy bear": "plush bear",
    "necktie": "tie",
    "running shoe": "sneaker",
    "woman's hat": "hat",
    "t-shirt": "shirt",
    "dog face": "puppy",
    "cat face": "kitten",
    "baby chick": "chick",
    "lady beetle": "ladybug",
    "honeybee": "bee",
    "dolphin": "jumping dolphin",
    "alien monster": "space invader",
    "t-rex": "dinosaur",
    "sauropod": "dinosaur",
}
"""Labels, and the word that people type."""
WITHOUT_ARTICLE = {"symbols", "flags"}
COLOURED_GROUPS = {
    *("animals-nature", "food-drink", "travel-places", "activities", "objects", "clipart"),
}
"""Groups in which a thing has a colour of its own."""
NO_CHROMA = {"black", "white", "gray", "beige"}
MAIN_SHARE = 0.55
"""Share from which a colour is that of the whole thing."""
MAX_KEYWORD = 24
JOCKEY = "jockey riding a horse"


def captions(
    *,
    drawing: str,
    name: str,
    keywords: tuple[str, ...],
    group: str,
    tone: tuple[str, ...] | None,
    styles: tuple[str, ...],
    colors: tuple[tuple[str, float], ...],
    one_ink: bool,
) -> tuple[str, ...]:
    """Writes the captions of a drawing; a pure function of its arguments.

    Args:
        drawing: the id, which seeds what is drawn by lot.
        colors: measured; a colour is only said where it is true of the picture.
    """
    rng = random.Random(drawing)
    if name == JOCKEY and rng.random() < 0.5:
        name = name.replace("jockey", "person")
    bare = with_tone(name, tone)
    thing = _phrase(name, group, tone)
    plain = [style for style in styles if not re.search(r"\b(with|on)\b", style)]
    said = [
        f"{thing}, {rng.choice(styles)}",
        *_of(plain, thing, rng),
        bare,
        f"{thing} on a white background, {rng.choice(styles)}",
    ]
    if name in SYNONYMS:
        other = _phrase(SYNONYMS[name], group, tone)
        said += [f"{other}, {rng.choice(styles)}", *_of(plain, other, rng)]
    colour = None if one_ink else main_colour(colors)
    if colour and group in COLOURED_GROUPS and not COLOURS & set(re.findall(r"[a-z]+", name)):
        said.append(f"{with_article(f'{colour} {name}')}, {rng.choice(styles)}")
    words = _keywords(keywords, name, colors)
    if words:
        some = rng.sample(words, min(len(words), 3))
        said.append(f"{bare}, {', '.join(some)}, {rng.choice(styles)}")
    if len(words) > 1:
        said += [f"{one}, {rng.choice(words)}" for one in _of(plain, thing, rng)]
    return tuple(dict.fromkeys(" ".join(caption.split()) for caption in said))


def main_colour(colors: tuple[tuple[str, float], ...]) -> str | None:
    """The one chromatic colour that covers most of a drawing."""
    found = [name for name, share in colors if share > MAIN_SHARE and name not in NO_CHROMA]
    return found[0] if found else None


def _phrase(name: str, group: str, tone: tuple[str, ...] | None) -> str:
    if group == "flags" and name.startswith("flag of"):
        return f"the {name}"
    return with_tone(name if group in WITHOUT_ARTICLE else with_article(name), tone)


def _of(styles: list[str], thing: str, rng: random.Random) -> list[str]:
    """`a flat illustration of a cat`; nothing where no style can be said so."""
    if not styles:
        return []
    style = rng.choice(styles)
    return [f"{with_article(style)} of {thing}"]


def _keywords(
    keywords: tuple[str, ...], name: str, colors: tuple[tuple[str, float], ...]
) -> list[str]:
    """Keywords that add something; those that name a colour only where the picture has it."""
    seen = {colour for colour, _ in colors}
    return [
        word
        for word in keywords
        if word.lower() not in name
        and len(word) <= MAX_KEYWORD
        and COLOURS & set(re.findall(r"[a-z]+", word.lower())) <= seen
    ]
