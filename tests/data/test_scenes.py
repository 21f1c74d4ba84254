"""The pocket world: pure, true to its captions, the same at every size."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unclip.data.fixture import SOURCES, THINGS, pick
from unclip.data.illustrations import COLOURS, FOLDER, index, main_hue, recoloured, sprite
from unclip.data.scenes import BACKGROUNDS, STYLES, captions, describe, paint
from unclip.data.world import main as write_world
from unclip.errors import DataError


def test_a_scene_is_a_function_of_its_index() -> None:
    for number in (0, 7, 123):
        assert describe(number) == describe(number)
        first, again = paint(describe(number), 64), paint(describe(number), 64)
        assert first.tobytes() == again.tobytes()
    assert describe(3, seed=1) != describe(3, seed=0)


def test_the_world_is_as_large_as_it_says() -> None:
    scenes = [describe(number) for number in range(3000)]
    assert {scene.style for scene in scenes} == set(STYLES)
    assert {scene.thing for scene in scenes} == set(THINGS)
    assert {scene.colour for scene in scenes} == {*COLOURS, None}
    assert {scene.background for scene in scenes} == {*BACKGROUNDS, None}
    pairs = Counter((s.thing, s.mount) for s in scenes if s.mount)
    assert pairs.most_common(1)[0][0] == ("astronaut", "horse")
    assert 0.15 < sum(pairs.values()) / len(scenes) < 0.35


def test_captions_say_what_is_shown() -> None:
    for number in range(500):
        scene = describe(number)
        said = captions(scene)
        assert [scene.style in caption for caption in said] == [True] * (len(said) - 1) + [False]
        for caption in said:
            assert scene.thing in caption
            assert (scene.mount or "") in caption
            assert (f"{scene.colour} {scene.thing}" in caption) == (scene.colour is not None)
            assert (f"{scene.background} background" in caption) == (scene.background is not None)
            assert " a a" not in caption
            assert " a e" not in caption
            assert " a o" not in caption
        if scene.style == "pencil drawing":
            assert scene.colour is None
            assert scene.background is None


def test_a_small_picture_is_the_large_one_reduced() -> None:
    for number in range(12):
        scene = describe(number)
        small = np.asarray(paint(scene, 64), float)
        large = paint(scene, 512).resize((64, 64), Image.Resampling.BOX)
        assert np.abs(small - np.asarray(large, float)).mean() < 9, scene


def test_recolouring_gives_the_hue() -> None:
    checked = 0
    for source in SOURCES:
        for thing in THINGS:
            if main_hue(source, thing) is None:
                continue
            for colour in ("red", "green", "blue", "purple"):
                image = recoloured(source, thing, colour, 64)
                hsv = np.asarray(image.convert("RGB").convert("HSV")).astype(int)
                alpha = np.asarray(image.getchannel("A"))
                seen = hsv[(alpha > 200) & (hsv[..., 1] > 80)][:, 0] * 360 / 255
                distance = np.abs((seen - COLOURS[colour][0] + 180) % 360 - 180)
                assert np.mean(distance < 15) > 0.5, (source, thing, colour)
                checked += 1
    assert checked > 100


@pytest.mark.parametrize("thing", ["horse", "tree", "book"])
def test_a_yellow_thing_is_light_however_dark_the_drawing(thing: str) -> None:
    for source in SOURCES:
        pixels = np.asarray(recoloured(source, thing, "yellow", 64)).astype(int)
        red, green, blue, alpha = np.moveaxis(pixels, -1, 0)
        yellow = (alpha > 200) & (np.minimum(red, green) - blue > 60)
        assert np.median(red[yellow]) > 200, (source, thing)
        assert yellow.sum() > 0.4 * (alpha > 200).sum(), (source, thing)


def test_a_colour_named_is_most_of_the_drawing() -> None:
    assert main_hue("noto", "house") is None  # its roof is red, its wall is not
    assert main_hue("fluent-emoji-flat", "penguin") is None
    assert main_hue("noto", "apple") is not None


def test_things_stand_out_from_the_background() -> None:
    pale = 0
    for scene in map(describe, range(600)):
        if scene.background is None or scene.style == "pixel art":
            continue
        pixels = np.asarray(paint(scene, 128)).astype(int)
        distance = np.abs(pixels - BACKGROUNDS[scene.background]).max(-1)
        assert (distance > 40).mean() > 0.1, scene
        pale += (distance > 40).mean() < 0.2
    assert pale < 30


def test_an_astronaut_sits_above_the_horse_and_has_a_leg() -> None:
    scene = next(s for s in map(describe, range(200)) if s.mount == "horse")
    upright = replace(scene, thing="astronaut", style="cartoon", source="noto", background=None)
    pixels = np.asarray(paint(upright, 256)).astype(int)
    grey = (np.ptp(pixels, axis=-1) < 20) & (pixels.max(-1) < 235) & (pixels.max(-1) > 120)
    brown = (pixels[..., 0] - pixels[..., 2] > 60) & (pixels[..., 0] > 150)
    rows = np.arange(256)[:, None]
    assert (rows * grey).sum() / grey.sum() < (rows * brown).sum() / brown.sum()
    leg = grey[128:].sum()
    assert leg > 0.01 * grey.size


def test_grey_styles_are_grey() -> None:
    scene = next(s for s in map(describe, range(100)) if s.style == "pencil drawing")
    pixels = np.asarray(paint(scene, 64)).astype(int)
    assert (pixels.max(-1) - pixels.min(-1)).max() == 0
    assert pixels.min() < 110  # there is ink


def test_what_has_no_main_hue_is_not_recoloured() -> None:
    with pytest.raises(DataError, match="no main hue"):
        recoloured("noto", "penguin", "red", 32)


def test_the_fixture_is_small_and_licensed() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 1_500_000
    about = index()
    assert len(about["drawings"]) == len(THINGS) * len(SOURCES)
    assert {source["licence"] for source in about["sources"].values()} == {"Apache-2.0", "MIT"}
    third_party = (Path(__file__).resolve().parents[2] / "THIRD_PARTY.md").read_text()
    for source in about["sources"].values():
        assert source["author"] in third_party
    for entry in about["drawings"]:
        assert max(sprite(entry["source"], entry["thing"], 64).size) > 32


def test_the_fixture_script_picks_from_a_package(tmp_path: Path) -> None:
    body = '<path fill="#f00" d="M1.23456 2h3v4z"/>'
    folder = tmp_path / "@iconify" / "json" / "json"
    folder.mkdir(parents=True)
    icons = {name: {"body": body} for name in THINGS.values()}
    for source in SOURCES:
        (folder / f"{source}.json").write_text(
            json.dumps({"icons": icons, "width": 8, "height": 9})
        )
    total = pick(tmp_path, tmp_path / "out")
    svg = (tmp_path / "out" / "noto" / "top-hat.svg").read_text()
    assert 'viewBox="0 0 8 9"' in svg
    assert "1.23 2h3v4z" in svg
    assert total == sum(p.stat().st_size for p in (tmp_path / "out").rglob("*.svg"))
    with pytest.raises(DataError, match="npm install"):
        pick(tmp_path / "absent", tmp_path / "out")


def test_the_world_is_written_and_resumed(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "unclip.data.world", "--out", str(tmp_path / "w")]
    command += ["--num", "3", "--size", "64", "--jobs", "1"]
    subprocess.run(command, check=True, capture_output=True)
    lines = (tmp_path / "w" / "metadata.jsonl").read_text().splitlines()
    assert [json.loads(line)["file_name"] for line in lines] == [
        f"images/{number:06d}.png" for number in range(3)
    ]
    picture = tmp_path / "w" / "images" / "000001.png"
    assert Image.open(picture).tobytes() == paint(describe(1), 64).tobytes()
    (tmp_path / "w" / "metadata.jsonl").unlink()
    picture.unlink()
    subprocess.run(command, check=True, capture_output=True)
    assert Image.open(picture).tobytes() == paint(describe(1), 64).tobytes()
    assert len(list((tmp_path / "w" / "images").iterdir())) == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--tile", "65"], "does not fit"),
        (["--tile", "0"], "does not fit"),
        (["--num", "0"], "--num 0 cannot be used: choose 1 or more"),
        (["--jobs", "0"], "--jobs 0"),
        (["--seed", "-1"], "--seed -1"),
        (["--size", "32"], "choose 64 to 1024"),
    ],
)
def test_numbers_out_of_range_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    assert write_world(["--out", str(tmp_path), "--num", "1", "--size", "64", *options]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("other", [["--seed", "1"], ["--size", "128"], ["--tile", "32"]])
def test_a_folder_of_another_world_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], other: list[str]
) -> None:
    command = ["--out", str(tmp_path), "--num", "1", "--size", "64", "--jobs", "1"]
    assert write_world(command) == 0
    before = (tmp_path / "metadata.jsonl").read_bytes()
    assert write_world([*command, *other]) == 2
    assert "choose another --out" in capsys.readouterr().err
    assert (tmp_path / "metadata.jsonl").read_bytes() == before


def test_a_folder_of_unknown_pictures_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "000000.png").touch()
    assert write_world(["--out", str(tmp_path), "--num", "1", "--size", "64"]) == 2
    assert "unknown settings" in capsys.readouterr().err
