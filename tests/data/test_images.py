"""Ordinary folders of captioned pictures: formats, faults, purity."""

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from unclip.data.images import CaptionedImages, ImageCrops, read_folder
from unclip.data.samples import open_picture
from unclip.errors import DataError


def paint(path: Path, colour: tuple[int, ...] = (200, 30, 30), size: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), colour).save(path)


def test_captions_beside_the_pictures(tmp_path: Path) -> None:
    paint(tmp_path / "b.png")
    (tmp_path / "b.txt").write_text("a red square\nred\n")
    paint(tmp_path / "sub" / "a.jpg")
    (tmp_path / "sub" / "a.json").write_text(json.dumps({"caption": "crimson"}))
    paint(tmp_path / "uncaptioned.png")
    records = read_folder(tmp_path)
    assert [r.captions for r in records] == [("a red square", "red"), ("crimson",)]


@pytest.mark.parametrize("key", ["caption", "text", "captions"])
def test_metadata_jsonl(tmp_path: Path, key: str) -> None:
    paint(tmp_path / "x" / "1.png")
    value = ["one", "two"] if key == "captions" else "one"
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "x/1.png", key: value}))
    assert read_folder(tmp_path)[0].captions[0] == "one"


def test_metadata_csv(tmp_path: Path) -> None:
    paint(tmp_path / "1.png")
    (tmp_path / "metadata.csv").write_text('file_name,text\n1.png,"red, mostly"\n')
    assert read_folder(tmp_path)[0].captions == ("red, mostly",)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "no captioned pictures"),
        ({"metadata.jsonl": '{"file_name": "no.png", "text": "x"}'}, "not there: no.png"),
        ({"metadata.jsonl": "{oops"}, "line 1 is not JSON"),
        ({"metadata.jsonl": '{"file_name": "1.png"}'}, "line 1 lacks file_name or caption"),
        ({"metadata.jsonl": '{"file_name": "../1.png", "text": "x"}'}, "outside the folder"),
        ({"metadata.jsonl": "", "metadata.csv": ""}, "keep one"),
        ({"1.txt": "x", "1.json": "{}"}, "keep one"),
        (
            {"metadata.jsonl": '{"file_name": "1.png", "text": "x"}', "1.txt": "y"},
            "both caption 1.png",
        ),
        ({"1.json": '{"words": "x"}'}, "has no caption"),
        ({"1.txt": b"caf\xe9"}, "not UTF-8"),
        ({"metadata.csv": b"file_name,text\n1.png,caf\xe9"}, "not UTF-8"),
        ({"metadata.jsonl": b'{"file_name": "1.png", "text": "caf\xe9"}'}, "not UTF-8"),
    ],
)
def test_faulty_folders(tmp_path: Path, files: dict[str, str | bytes], says: str) -> None:
    paint(tmp_path / "1.png")
    for name, content in files.items():
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=says) as caught:
        read_folder(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("1.txt", "\ufeffa café"),
        ("1.json", '\ufeff["a café"]'),
        ("metadata.csv", "\ufefffile_name,text\r\n1.png,a café\r\n"),
        ("metadata.jsonl", '\ufeff{"file_name": "1.png", "text": "a café"}\r\n'),
    ],
)
def test_a_byte_order_mark_is_no_part_of_a_caption(tmp_path: Path, name: str, content: str) -> None:
    paint(tmp_path / "1.png")
    (tmp_path / name).write_bytes(content.encode())
    assert read_folder(tmp_path)[0].captions == ("a café",)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        read_folder(tmp_path / "absent")


def test_modes_become_rgb(tmp_path: Path) -> None:
    half = np.zeros((4, 4, 4), np.uint8)
    half[..., 0], half[:2, :, 3] = 255, 255
    Image.fromarray(half, "RGBA").save(tmp_path / "alpha.png")
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "deep.png")
    holes = np.full((4, 4), 40_000, np.uint16)
    holes[0] = 7
    Image.fromarray(holes).save(tmp_path / "deep_holes.png", transparency=7)
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "print.jpg", quality=95)
    Image.new("L", (4, 4), 99).convert("P").save(tmp_path / "palette.png")
    assert open_picture(tmp_path / "alpha.png").getpixel((0, 3)) == (255, 255, 255)
    assert open_picture(tmp_path / "alpha.png").getpixel((0, 0)) == (255, 0, 0)
    assert open_picture(tmp_path / "deep.png").getpixel((0, 0)) == (156, 156, 156)
    assert open_picture(tmp_path / "deep_holes.png").getpixel((0, 0)) == (255, 255, 255)
    assert open_picture(tmp_path / "deep_holes.png").getpixel((0, 1)) == (156, 156, 156)
    red = open_picture(tmp_path / "print.jpg").getpixel((0, 0))
    assert isinstance(red, tuple)
    assert red[0] > 200 > 60 > red[1]
    assert open_picture(tmp_path / "palette.png").getpixel((0, 0)) == (99, 99, 99)


def folder_with_faults(root: Path) -> Path:
    lines = []
    for index in range(6):
        path = root / f"{index}.png"
        if index in (2, 3):
            path.write_bytes(b"no picture")
        else:
            paint(path, (index * 40, 0, 0), size=20)
        lines.append(json.dumps({"file_name": path.name, "captions": ["a", "b", "c"]}))
    (root / "metadata.jsonl").write_text("\n".join(lines))
    return root


def test_corrupt_pictures_are_skipped_and_counted(tmp_path: Path) -> None:
    dataset = CaptionedImages(folder_with_faults(tmp_path), 8)
    assert len(dataset) == 6
    sample = dataset[2, 0]
    assert (sample["index"], sample["skipped"]) == (4, 2)
    assert sample["image"].shape == (3, 8, 8)
    assert sample["image"][0].mean() == pytest.approx(4 * 40 / 127.5 - 1, abs=0.01)
    assert dataset[5, 0]["skipped"] == 0


def test_broken_exif_is_no_reason_to_skip_a_picture(tmp_path: Path) -> None:
    paint(tmp_path / "0.webp", (0, 200, 0), size=20)
    image = Image.open(tmp_path / "0.webp")
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x03\0\0\0\x01\xff\xff"
    image.save(tmp_path / "0.webp", exif=exif, lossless=True)
    (tmp_path / "0.txt").write_text("green")
    sample = CaptionedImages(tmp_path, 8)[0, 0]
    assert sample["skipped"] == 0
    assert sample["image"][1].mean() == pytest.approx(200 / 127.5 - 1, abs=0.02)


def test_a_csv_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    paint(tmp_path / "0.png")
    (tmp_path / "metadata.csv").write_text(f"file_name,caption\n0.png,{'x' * 140_000}\n")
    with pytest.raises(DataError, match=r"metadata\.csv cannot be read as CSV: field larger"):
        read_folder(tmp_path)


def test_nothing_usable(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"no picture")
    (tmp_path / "1.txt").write_text("x")
    with pytest.raises(DataError, match="none of 1 pictures"):
        CaptionedImages(tmp_path, 8)[0, 0]


def test_caption_and_crop_are_functions_of_the_position(tmp_path: Path) -> None:
    root = folder_with_faults(tmp_path)
    gradient = np.arange(40 * 40, dtype=np.uint32).reshape(40, 40) % 251
    Image.fromarray(gradient.astype(np.uint8)).convert("RGB").save(root / "0.png")
    whole, crops = CaptionedImages(root, 8), ImageCrops(root, 16)
    said = [whole[0, position]["caption"] for position in range(40)]
    assert said == [whole[0, position]["caption"] for position in range(40)]
    assert set(said) == {"a", "b", "c"}
    other_seed = CaptionedImages(root, 8, seed=1)
    assert said != [other_seed[0, position]["caption"] for position in range(40)]
    first, again, other = (crops[0, position]["image"] for position in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    pixels = ((first[0] + 1) * 127.5).round()
    assert (
        pixels[0, 1:] - pixels[0, :-1]
    ).abs().max() > 0  # cut, not resized: the pattern is there
    assert crops[1, 0]["skipped"] == 0


def test_pictures_smaller_than_a_crop_are_skipped(tmp_path: Path) -> None:
    paint(tmp_path / "small.png", size=8)
    paint(tmp_path / "wide.png", size=64)
    for name in ("small", "wide"):
        (tmp_path / f"{name}.txt").write_text(name)
    sample = ImageCrops(tmp_path, 32)[0, 0]
    assert (sample["caption"], sample["skipped"]) == ("wide", 1)


def test_metadata_parquet(tmp_path: Path) -> None:
    paint(tmp_path / "1.png")
    table = {"file_name": ["1.png"], "captions": [["one", "two"]], "score": [0.5]}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "metadata.parquet")
    assert read_folder(tmp_path)[0].captions == ("one", "two")
    (tmp_path / "metadata.csv").write_text("file_name,text\n1.png,x\n")
    with pytest.raises(DataError, match=r"both metadata\.csv and metadata\.parquet: keep one"):
        read_folder(tmp_path)
    (tmp_path / "metadata.csv").unlink()
    (tmp_path / "metadata.parquet").write_bytes(b"PAR1 no table")
    with pytest.raises(DataError, match="cannot be read as Parquet") as caught:
        read_folder(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_jpeg_is_decoded_near_the_size_it_is_needed_at(tmp_path: Path) -> None:
    # Smooth, so that only wrong pixels differ and not the filters.
    ramp = np.linspace(0, 255, 512)
    pixels = np.stack([np.add.outer(ramp, ramp) / 2, *np.meshgrid(ramp, ramp)], -1)
    picture = Image.fromarray(pixels.astype(np.uint8))
    picture.save(tmp_path / "1.jpg", quality=95)
    picture.save(tmp_path / "2.png")
    assert open_picture(tmp_path / "1.jpg").size == (512, 512)
    assert open_picture(tmp_path / "1.jpg", 64).size == (128, 128)
    assert open_picture(tmp_path / "1.jpg", 65).size == (256, 256)
    assert open_picture(tmp_path / "2.png", 64).size == (512, 512)
    for name in ("1", "2"):
        (tmp_path / f"{name}.txt").write_text(name)
    pictures = CaptionedImages(tmp_path, 64)
    difference = (pictures[0, 0]["image"] - pictures[1, 0]["image"]).abs() * 127.5
    assert difference.max() < 3
    assert difference.mean() < 0.7
