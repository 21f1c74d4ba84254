"""What is held out: concepts and drawings by the hash of their names, the same in every build."""

import hashlib
import re

from unclip.data.drawings.records import Split

TEST_PER_10000 = 200
VAL_PER_10000 = 100
PINNED = frozenset(
    [
        *("horse", "astronaut", "cat", "dog", "bird", "fish", "car", "apple", "house", "tree"),
        *("flower", "robot", "dragon", "sun", "moon", "star", "heart", "elephant", "lion", "bear"),
        *("penguin", "rabbit", "boat", "airplane", "bicycle", "guitar", "pizza", "cake", "rocket"),
        *("unicorn", "butterfly", "jockey"),
    ]
)
"""What people type first; never held out."""
PEOPLE = re.compile(r"\b(man|woman|men|women|person|people|boy|girl|child|male|female)\b")
FILLERS = re.compile(r"\b(face|with|in|of|the|a|an|and|symbol|icon|emoji|button)\b")


def concept_key(name: str) -> str:
    """The words that tell one thing from another: no article, gender, plural or punctuation."""
    words = re.sub(r"[^a-z0-9 ]", " ", name.lower())
    kept = FILLERS.sub("", PEOPLE.sub("", words)).split()
    key = " ".join(_singular(word) for word in kept)
    return key or words.strip()


def _singular(word: str) -> str:
    plural = len(word) > 3 and word.endswith("s") and not word.endswith("ss")
    return word[:-1] if plural else word


def split_of(concept: str, drawing: str) -> Split:
    """Decides by the concept, and by the drawing's id for the concepts that are not held out."""
    if concept in PINNED:
        return "train"
    if _per_10000(f"concept:{concept}") < TEST_PER_10000:
        return "test"
    return "val" if _per_10000(f"img:{drawing}") < VAL_PER_10000 else "train"


def _per_10000(text: str) -> int:
    return int(hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), 16) % 10000
