"""Which compositions are never trained on: a tenth of all pairs, chosen by a hash of their names.

So the choice depends neither on the set's order nor on a seed, and everybody holds out the same.
"""

import hashlib
from typing import Literal, NamedTuple


class Pair(NamedTuple):
    """A composition of two: rider and mount; colour and thing; what stands left and right."""

    relation: Literal["ride", "colour", "side"]
    first: str
    second: str
    """Nouns, or a colour's name."""


HELD_OUT_PERCENT = 10
ALWAYS = frozenset((Pair("ride", "astronaut", "horse"),))


def is_held_out(pair: Pair) -> bool:
    """Whether a composition is held out."""
    if pair in ALWAYS:
        return True
    digest = hashlib.sha1(f"{pair.relation}:{pair.first}|{pair.second}".encode()).digest()
    return int.from_bytes(digest, "big") % 100 < HELD_OUT_PERCENT
