"""Other words for what the pocket world holds: "puppy" for a dog, "cosmonaut" for an astronaut.

The table `synonyms.json` maps a word to the noun of the drawings that it may stand for; it is made
by `python -m unclip.data.thesaurus` from WordNet. Captions that use it teach CLIP words that no
drawing is called by.
"""

import json
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("synonyms.json")


@cache
def synonyms() -> dict[str, tuple[str, ...]]:
    """Returns the other words of each noun, in alphabetical order."""
    words: dict[str, list[str]] = {}
    for word, noun in json.loads(TABLE.read_text("utf-8")).items():
        words.setdefault(noun, []).append(word)
    return {noun: tuple(sorted(others)) for noun, others in words.items()}
