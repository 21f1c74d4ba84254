"""Each layout of package: what is found in it, how it is named, what is left out."""

import json
from pathlib import Path

import pytest

from unclip.data.drawings.catalogue import SOURCES
from unclip.data.drawings.names import read_names
from unclip.data.drawings.openclipart import clean_name, is_english
from unclip.data.drawings.originals import Original
from unclip.data.drawings.packages import EMOJIBASE, EMOJILIB, FLUENT_3D, ICONIFY, OPENCLIPART
from unclip.data.drawings.selection import select
from unclip.errors import DataError


def chosen(name: str, cache: Path) -> dict[str, Original]:
    return select(SOURCES[name], cache, read_names(cache))


def test_names_of_emoji(cache: Path) -> None:
    names = read_names(cache)
    cat = names.by_hexcode("1f431-fe0f")
    assert cat is not None
    assert (cat.label, cat.group, cat.subgroup) == ("cat face", "animals-nature", "animal-mammal")
    assert cat.keywords == ("pet", "meow", "whiskers on it")
    hand = names.by_hexcode("1F44B-1F3FF")
    assert hand is not None
    assert (hand.label, hand.hexcode, hand.tone) == ("waving hand", "1F44B", ("dark",))
    by_file = names.by_file_name("waving-hand-medium-light-skin-tone")
    assert by_file is not None
    assert by_file.tone == ("medium-light",)
    assert names.by_glued_name("RedApple") is not None
    assert names.by_glued_name("cat") is not None
    assert names.by_name("no such thing") is None


@pytest.mark.parametrize(
    ("icon", "thing"),
    [
        ("food-drink-desert-cupcake", "cupcake"),
        ("red-apple-duotone", "red apple"),
        ("castle-1-light", "castle"),
        ("tree-2-bold", "tree"),
        ("arrow-left", None),
        ("file-text", None),
        ("bow-arrow", None),
    ],
)
def test_things_among_interface_icons(cache: Path, icon: str, thing: str | None) -> None:
    assert read_names(cache).thing(icon) == thing


def test_an_icon_set_of_emoji(cache: Path) -> None:
    found = chosen("noto", cache)
    # One of the two tones; no component, no brand.
    assert list(found) == [
        *("noto__waving-hand", "noto__waving-hand-light", "noto__cat-face", "noto__red-apple"),
        *("noto__horse-racing", "noto__france", "noto__blank"),
    ]
    assert found["noto__waving-hand-light"].tone == ("light",)
    assert found["noto__france"].label == "flag: france"
    assert found["noto__france"].group == "flags"
    svg = found["noto__cat-face"].svg
    assert svg is not None
    assert 'viewBox="0 0 32 32"' in svg
    assert found["noto__blank"].label == "blank"


def test_black_sources_have_no_colour_in_a_name(cache: Path) -> None:
    assert list(chosen("emojione-mono", cache)) == [
        "emojione-mono__cat-face",
        "emojione-mono__cupcake",
    ]


def test_interface_icons(cache: Path) -> None:
    (found,) = chosen("icon-park", cache).values()
    assert (found.label, found.key, found.group) == (
        *("cupcake", "food-drink-cupcake-2", "food-drink"),
    )
    assert found.keywords == ("food", "drink")


def test_openmoji(more_packages: Path) -> None:
    cat, hive = chosen("openmoji", more_packages).values()
    assert cat.keywords == ("pet", "meow", "whiskers on it", "furry")
    assert (hive.label, hive.hexcode, hive.keywords) == ("bee hive", None, ("pet", "cute", "furry"))


def test_fluent_3d(more_packages: Path) -> None:
    found = chosen("fluent-3d", more_packages)
    assert [one.label for one in found.values()] == ["cat face", "cupcake"]
    assert found["fluent-3d__1f431"].bitmap is not None


def test_openclipart(more_packages: Path) -> None:
    frog, owl = chosen("openclipart", more_packages).values()
    assert (frog.label, owl.label) == ("green frog", "barn owl")
    assert frog.author == "Ann Artist"
    assert frog.keywords == ("farm", "animals")
    assert owl.styles == ("black and white clip art", "black line clip art")


@pytest.mark.parametrize(
    ("title", "name", "ink"),
    [
        ("Red_Car 03", "red car", False),
        ("Cat &amp; mouse", "cat and mouse", False),
        ("leone02", "lion", False),
        ("flower_bw", "flower", True),
        ("simple tree clip art", "tree", False),
    ],
)
def test_titles_of_clip_art(title: str, name: str, ink: bool) -> None:
    assert clean_name(title) == (name, ink)


@pytest.mark.parametrize(
    ("name", "english"),
    [("old wooden boat", True), ("gattino piccolissimo", False), ("a1", False), ("x" * 70, False)],
)
def test_english_only(name: str, english: bool) -> None:
    assert is_english(name) == english


def test_tuxpaint(more_packages: Path) -> None:
    mouse, sun = chosen("tuxpaint", more_packages).values()
    assert (mouse.label, mouse.group) == ("grey mouse", "photo")
    assert (sun.label, sun.group) == ("sun", "clipart")
    assert sun.styles == ("cartoon clip art", "cartoon drawing")


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        (EMOJIBASE.folder(Path()) / "en" / "data.json", None, "data.json is missing: remove"),
        (EMOJIBASE.folder(Path()) / "en" / "data.json", '[{"label"', "data.json is damaged"),
        (EMOJIBASE.folder(Path()) / "en" / "data.json", "[{}]", "not as expected"),
        (EMOJILIB.folder(Path()) / "dist" / "emoji-en-US.json", "[]", "not as expected"),
        (ICONIFY.folder(Path()) / "json" / "noto.json", None, "noto.json is missing"),
        (ICONIFY.folder(Path()) / "json" / "noto.json", "{}", "not as expected"),
        (
            ICONIFY.folder(Path()) / "json" / "noto.json",
            json.dumps({"info": {"license": {"spdx": "MIT"}}}),
            "has the licence MIT, not Apache-2.0",
        ),
    ],
)
def test_damaged_packages(cache: Path, file: Path, content: str | None, says: str) -> None:
    path = cache / file
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(DataError, match=says) as caught:
        chosen("noto", cache)
    assert "\n" not in str(caught.value)
    assert "run again" in str(caught.value)


def test_absent_folders(cache: Path) -> None:
    with pytest.raises(DataError, match="assets is missing: remove"):
        chosen("fluent-3d", cache)
    with pytest.raises(DataError, match="is missing: remove"):
        chosen("openmoji", cache)
    OPENCLIPART.folder(cache).mkdir(parents=True)
    with pytest.raises(DataError, match="openclipart-svg and run again"):
        chosen("openclipart", cache)
    assert FLUENT_3D.root(cache).name == "@lobehub+fluent-emoji-3d-1.1.0"
