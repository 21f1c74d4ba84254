"""What is said of a scene, in several ways that are all true of it; and what is nearly said, but
false."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from unclip.data.composer.backdrops import PLAIN, SCENERIES
from unclip.data.composer.catalogue import BLACK, UNCOUNTED
from unclip.data.composer.colours import COLOURS
from unclip.data.composer.scene import Scene, Thing
from unclip.data.composer.styles import GREY
from unclip.data.synonyms import synonyms

NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
IRREGULAR = {
    "mouse": "mice",
    "goose": "geese",
    "sheep": "sheep",
    "fish": "fish",
    "deer": "deer",
    "tooth": "teeth",
    "foot": "feet",
    "leaf": "leaves",
    "wolf": "wolves",
    "knife": "knives",
    "bread": "loaves of bread",
    "child": "children",
    "man": "men",
    "woman": "women",
    "policeman": "policemen",
    "ox": "oxen",
    "scarf": "scarves",
    "bison": "bison",
}
SYMMETRIC = frozenset(("{0} and {1}", "{0} next to {1}"))
"""Phrases that stay true when the two are exchanged."""
PHRASES: dict[str, tuple[str, ...]] = {
    "single": ("{0}",),
    "scenery": ("{0} {scenery}",),
    "pair": (
        "{0} to the left of {1}",
        "{1} to the right of {0}",
        "{0} on the left and {1} on the right",
        "{0} next to {1}",
        "{0} and {1}",
    ),
    "above": ("{0} above {1}", "{1} below {0}"),
    "row": ("{0}, {1} and {2} in a row",),
    "count": ("{many}",),
    "size": ("a big {bare0} and a small {bare1}", "a small {bare1} next to a big {bare0}"),
    "ride": ("{0} riding {1}", "{0} riding {1}", "{0} sitting on {1}", "{0} on top of {1}"),
    "wear": ("{0} wearing {1}", "{0} with {1} on its head"),
}


def captions(scene: Scene) -> list[str]:
    """Says what a scene shows in every way, the style named or, if no filter made it, left out."""
    said = [styled for phrase in PHRASES[scene.kind] for styled in _styled(scene, phrase, {})]
    return list(dict.fromkeys(said))


def caption(scene: Scene, rng: np.random.Generator, synonym_share: float = 0.0) -> tuple[str, str]:
    """Chooses a way to say it; returns the caption, and a false one of nearly the same words.

    Args:
        synonym_share: how often a thing is called by another word that it has.

    The false one is empty where there is none.
    """
    phrases = PHRASES[scene.kind]
    phrase = phrases[rng.integers(len(phrases))]
    words = _other_words(scene, rng, synonym_share)
    forms = _styled(scene, phrase, words)
    form = int(rng.integers(len(forms)))
    wrong = swapped(scene, ordered=phrase not in SYMMETRIC)
    negative = "" if wrong is None else _styled(wrong, phrase, words)[form]
    return forms[form], "" if negative == forms[form] else negative


def swapped(scene: Scene, *, ordered: bool = True) -> Scene | None:
    """Exchanges what makes the scene this one: the colours of two things, or their places.

    Args:
        ordered: the caption says which is where, so exchanged places make it false.
    """
    first, *others = scene.things
    if scene.kind in ("pair", "above", "size") and others:
        second = others[0]
        if first.colour and second.colour and first.colour != second.colour:
            things = (
                replace(first, colour=second.colour),
                replace(second, colour=first.colour),
            )
            return replace(scene, things=things)
        return replace(scene, things=(second, first)) if ordered else None
    if scene.kind == "ride":
        return replace(scene, things=(others[0], first))
    if scene.kind == "count":
        count = len(scene.things) % max(NUMBERS) + 1 if len(scene.things) != max(NUMBERS) else 2
        return replace(scene, things=(first,) * count)
    if scene.kind in ("single", "scenery") and first.colour:
        names = list(COLOURS)
        other = names[(names.index(first.colour) + 3) % len(names)]
        return replace(scene, things=(replace(first, colour=other),))
    return None


def _styled(scene: Scene, phrase: str, words: Mapping[str, str]) -> list[str]:
    """A phrase with the style before, behind, or, where no filter made it, not at all."""
    what = _fill(scene, phrase, words)
    if scene.backdrop in PLAIN:
        what = f"{what} on {article(scene.backdrop)} background"
    style = scene.style
    named = style if style.endswith(("art", "clip art")) else article(style)
    said = [f"{what}, {style}", f"{named} of {what}", f"{style}, {what}"]
    return said if scene.filter else [*said, what]


def _fill(scene: Scene, phrase: str, words: Mapping[str, str]) -> str:
    bare = [_noun_phrase(scene, thing, words) for thing in scene.things]
    fields = {f"bare{place}": noun for place, noun in enumerate(bare)}
    if scene.kind == "count":
        fields["many"] = f"{NUMBERS[len(bare)]} {plural(bare[0])}"
    if scene.backdrop in SCENERIES:
        fields["scenery"] = scene.backdrop
    return phrase.format(*map(article, bare), **fields)


def _noun_phrase(scene: Scene, thing: Thing, words: Mapping[str, str]) -> str:
    noun = words.get(thing.noun, thing.noun)
    colourless = scene.filter in GREY or scene.source in BLACK
    return noun if thing.colour is None or colourless else f"{thing.colour} {noun}"


def _other_words(scene: Scene, rng: np.random.Generator, share: float) -> dict[str, str]:
    """Other words for some of the things."""
    chosen = {}
    for noun in dict.fromkeys(thing.noun for thing in scene.things):
        others = synonyms().get(noun, ())
        if others and rng.random() < share:
            chosen[noun] = others[rng.integers(len(others))]
    return chosen


def article(noun: str) -> str:
    """Puts a or an before a noun, where one belongs."""
    words = noun.split()
    last = words[-1]
    many = last.endswith("s") and not last.endswith(("ss", "us", "is", "ros"))
    if many or last in UNCOUNTED or last in ("claus", "skis"):
        return noun
    vowel = noun[0] in "aeiou" and not noun.startswith(("uni", "eu", "one", "ukulele"))
    return f"an {noun}" if vowel else f"a {noun}"


def plural(noun: str) -> str:
    """The plural of a noun, or of the last word of one."""
    *before, last = noun.split()
    if last in IRREGULAR:
        last = IRREGULAR[last]
    elif last.endswith(("s", "sh", "ch", "x", "z")) or last in ("tomato", "potato", "mango"):
        last += "es"
    elif last.endswith("y") and last[-2] not in "aeiou":
        last = f"{last[:-1]}ies"
    else:
        last += "s"
    return " ".join([*before, last])
