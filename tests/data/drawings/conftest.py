"""Hand-made packages in the layout of the real ones, and somebody who is told of progress."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from unclip.data.drawings.packages import (
    EMOJIBASE,
    EMOJILIB,
    FLUENT_3D,
    ICONIFY,
    OPENCLIPART,
    OPENMOJI,
    TUXPAINT,
)


class Notes:
    """Keeps what is told, and counts the steps of each phase."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.done: dict[str, int] = {}
        self.totals: dict[str, int] = {}

    def note(self, text: str) -> None:
        self.lines.append(text)

    @contextmanager
    def progress(self, totals: Mapping[str, int]) -> Iterator[Callable[[str], None]]:
        self.totals |= totals

        def advance(phase: str) -> None:
            self.done[phase] = self.done.get(phase, 0) + 1

        yield advance


@pytest.fixture
def notes() -> Notes:
    return Notes()


def dump(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def emoji(label: str, code: str, group: int | None, subgroup: int, **more: Any) -> dict[str, Any]:
    char = "".join(chr(int(part, 16)) for part in code.split("-"))
    entry = {"label": label, "hexcode": code, "emoji": char, "tags": [], "subgroup": subgroup}
    return entry | ({} if group is None else {"group": group}) | more


TONES = [{"hexcode": f"1F44B-1F3F{last}"} for last in "BCDEF"]
EMOJI = [
    emoji("waving hand", "1F44B", 1, 2, tags=["hello", "wave"], skins=TONES),
    emoji("cat face", "1F431", 3, 1, tags=["pet"]),
    emoji("red apple", "1F34E", 4, 0, tags=["fruit", "red"]),
    emoji("horse racing", "1F3C7", 1, 3),
    emoji("flag: France", "1F1EB-1F1F7", 9, 0),
    emoji("cupcake", "1F9C1", 4, 0),
    emoji("light skin tone", "1F3FB", None, 0),
]
SUBGROUPS = {"0": "other", "1": "animal-mammal", "2": "hand-fingers-open", "3": "person-sport"}


def disc(colour: str, x: float = 16, radius: float = 8) -> str:
    """An SVG body of 32 units."""
    return f'<circle cx="{x}" cy="16" r="{radius}" fill="{colour}"/>'


def icon_set(icons: dict[str, str], spdx: str, **more: Any) -> dict[str, Any]:
    return {
        "info": {"license": {"spdx": spdx}},
        "width": 32,
        "height": 32,
        "icons": {key: {"body": body} for key, body in icons.items()},
    } | more


NOTO = icon_set(
    {
        "waving-hand": disc("#fc3", 12),
        "waving-hand-light": disc("#fdb", 14),
        "waving-hand-dark": disc("#643", 18),
        "cat-face": disc("#f93", 10),
        "red-apple": disc("#d22828", 20, 12),
        "horse-racing": disc("#853", 8, 5),
        "france": disc("#228", 16, 14),
        "light-skin-tone": disc("#fdb"),
        "secret-logo": disc("#000"),
        "blank": "<g/>",
    },
    "Apache-2.0",
    chars={
        "1f44b": "waving-hand",
        "1f44b-1f3fb": "waving-hand-light",
        "1f44b-1f3ff": "waving-hand-dark",
        "1f431": "cat-face",
        "1f34e": "red-apple",
        "1f3c7": "horse-racing",
        "1f1eb-1f1f7": "france",
        "1f3fb": "light-skin-tone",
    },
)
MONO = icon_set(
    {"cat-face": disc("#000", 10), "red-apple": disc("#000", 20), "cupcake": disc("#000", 14)},
    "CC-BY-4.0",
)
PARK = icon_set(
    {"food-drink-cupcake-2": disc("#2f88ff"), "arrow-left": disc("#000"), "file-text": "<g/>"},
    "Apache-2.0",
)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Packages of npm in a few drawings each."""
    folder = tmp_path / "cache"
    dump(EMOJIBASE.folder(folder) / "meta" / "groups.json", {"subgroups": SUBGROUPS})
    dump(EMOJIBASE.folder(folder) / "en" / "data.json", EMOJI)
    keywords = {"\U0001f431": ["cat_face", "meow", "whiskers_on_it"]}
    dump(EMOJILIB.folder(folder) / "dist" / "emoji-en-US.json", keywords)
    sets = {"noto": NOTO, "emojione-monotone": MONO, "icon-park": PARK}
    for name, icons in sets.items():
        dump(ICONIFY.folder(folder) / "json" / f"{name}.json", icons)
    return folder


@pytest.fixture
def more_packages(cache: Path) -> Path:
    """The other layouts, in the same cache."""
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">{disc("#fa0")}</svg>'
    root = OPENMOJI.folder(cache)
    for style in ("color", "black"):
        for code in ("1F431", "E000"):
            path = root / style / "svg" / f"{code}.svg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(svg)
    tags = {"tags": "pet, cute", "openmoji_tags": "furry", "skintone": ""}
    entries = [
        {"hexcode": "1F431", "annotation": "cat face", "subgroups": "animal-mammal", **tags},
        {"hexcode": "E000", "annotation": "bee hive", "subgroups": "farming", **tags},
        {"hexcode": "E001", "annotation": "a brand", "subgroups": "brand", **tags},
        {"hexcode": "E002", "annotation": "not there", "subgroups": "farming", **tags},
    ]
    dump(root / "data" / "openmoji.json", entries)
    assets = FLUENT_3D.folder(cache) / "assets"
    assets.mkdir(parents=True)
    for code in ("1f431", "1f9c1", "fffff"):
        image = Image.new("RGBA", (256, 256))
        ImageDraw.Draw(image).ellipse((40, 40, 200, 200), fill=(200, 80, 30, 255))
        image.save(assets / f"{code}.webp")
    write_clip_art(OPENCLIPART.folder(cache) / "usr" / "share" / "openclipart" / "svg")
    write_stamps(TUXPAINT.folder(cache) / "usr" / "share" / "tuxpaint" / "stamps")
    return cache


def clip_art(title: str, licence: str = "PublicDomain", more: str = "") -> str:
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n'
        '<svg xmlns="http://www.w3.org/2000/svg" width="200pt" height="100pt" '
        'xmlns:dc="d" xmlns:cc="c" xmlns:rdf="r">'
        f'<circle cx="100" cy="60" r="55" fill="#3a3"/>{more}<metadata>'
        f"<dc:title>{title}</dc:title><cc:license>{licence}</cc:license>"
        "<dc:creator><cc:Agent><dc:title>Ann  Artist</dc:title></cc:Agent></dc:creator>"
        "<rdf:li>farm</rdf:li><rdf:li>unsorted</rdf:li></metadata></svg>\n"
    )


def write_clip_art(root: Path) -> None:
    files = {
        "animals/green_frog_ann_01.svg": clip_art("Untitled"),
        "animals/x.svg": clip_art("Barn owl b and w"),
        "animals/unsaid.svg": clip_art("wooden boat", licence="none said"),
        "animals/photo.svg": clip_art("wooden chair", more='<image href="x.png"/>'),
        "animals/words.svg": clip_art("old wooden sign", more="<text>stop</text>"),
        "animals/gatto.svg": clip_art("gattino piccolissimo"),
        "logos/y.svg": clip_art("house"),
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def write_stamps(root: Path) -> None:
    (root / "animals").mkdir(parents=True)
    image = Image.effect_noise((200, 120), 60).convert("RGBA")
    image.save(root / "animals" / "mouse.png")
    (root / "animals" / "mouse.txt").write_text("A grey mouse!\nca.utf8=Un ratolí\n")
    Image.new("RGBA", (200, 120), (250, 200, 0, 255)).save(root / "animals" / "sun.png")
    (root / "animals" / "sun.txt").write_text("The sun.\n")
    (root / "animals" / "nameless.png").write_bytes(b"")
