"""Pickles that do something when they are unpickled: here, make a folder, which a test looks for.

Each is a way in which a pickle can have something called. `copyreg` must know EXTENSION as os.mkdir
for those that go by an extension's number.
"""

import os
from collections.abc import Callable

EXTENSION = 0xF0


class MadeByNew:
    """Its objects leave a folder when they are made."""

    def __new__(cls, place: str) -> "MadeByNew":
        os.mkdir(place)
        return super().__new__(cls)


class MadeByState:
    """Its objects leave a folder when they are given their state."""

    def __setstate__(self, state: dict[str, str]) -> None:
        os.mkdir(state["place"])


def text(value: str) -> bytes:
    """A string in a pickle."""
    content = value.encode()
    return b"X" + len(content).to_bytes(4, "little") + content


PAYLOADS: dict[str, Callable[[str], bytes]] = {
    "REDUCE": lambda place: b"\x80\x02cos\nmkdir\n(" + text(place) + b"tR.",
    "REDUCE from protocol 0": lambda place: b"cos\nmkdir\n(V" + place.encode() + b"\ntR.",
    "REDUCE inside a state_dict": lambda place: (
        b"\x80\x02}("
        + text("state_dict")
        + b"}("
        + text("w")
        + b"cos\nmkdir\n("
        + text(place)
        + b"tRuu."
    ),
    "REDUCE of eval": lambda place: (
        b"\x80\x02cbuiltins\neval\n(" + text(f"__import__('os').mkdir({place!r})") + b"tR."
    ),
    "REDUCE of getattr": lambda place: (
        b"\x80\x02cbuiltins\ngetattr\n(cos\nPathLike\n" + text("__doc__") + b"tR0"
        b"cos\nmkdir\n(" + text(place) + b"tR."
    ),
    "REDUCE kept in the memo": lambda place: (
        b"\x80\x02cos\nmkdir\nq\x000(h\x00" + text(place) + b"\x85RN0t."
    ),
    "INST": lambda place: b"\x80\x02(" + text(place) + b"ios\nmkdir\n.",
    "OBJ": lambda place: b"\x80\x02(cos\nmkdir\n" + text(place) + b"o.",
    "NEWOBJ": lambda place: b"\x80\x02cpayloads\nMadeByNew\n(" + text(place) + b"t\x81.",
    "NEWOBJ_EX": lambda place: b"\x80\x04cpayloads\nMadeByNew\n(" + text(place) + b"t}\x92.",
    "BUILD": lambda place: (
        b"\x80\x02cpayloads\nMadeByState\n)\x81}(" + text("place") + text(place) + b"ub."
    ),
    "STACK_GLOBAL": lambda place: (
        b"\x80\x04" + text("os") + text("mkdir") + b"\x93(" + text(place) + b"tR."
    ),
    "STACK_GLOBAL in protocol 2": lambda place: (
        b"\x80\x02" + text("os") + text("mkdir") + b"\x93(" + text(place) + b"tR."
    ),
    "EXT1": lambda place: b"\x80\x02\x82\xf0(" + text(place) + b"tR.",
    "EXT2": lambda place: b"\x80\x02\x83\xf0\x00(" + text(place) + b"tR.",
    "EXT4": lambda place: b"\x80\x02\x84\xf0\x00\x00\x00(" + text(place) + b"tR.",
}
"""Pickles by how they call; each makes the folder that it is given."""
