"""Tars read in their order; what cannot be used is counted, what is damaged is told."""

import json
from pathlib import Path

import pytest
from tar_files import picture, write_shards, write_tar

from unclip.data.captioned import FolderPiece, pieces_of
from unclip.data.tars import RawSample, Skips, read_tar
from unclip.errors import DataError


def test_samples_come_in_order_and_bad_ones_are_counted(tmp_path: Path) -> None:
    path = write_tar(
        tmp_path / "0.tar",
        {
            "a/2.json": json.dumps({"caption": "one", "url": "x"}).encode(),
            "a/2.jpg": picture(2, "JPEG"),
            "a/1.webp": b"never decoded here",
            "a/1.txt": "\ufeffzwei\n\ndrei\n".encode(),
            "alone.txt": b"no picture",
            "b.PNG": picture(3),
            "c.png": picture(4),
            "c.txt": b"\xff\xfe",
            "d.png": picture(5),
            "d.json": b"{",
            "e.seg.png": b"a map of labels",
            "e.png": picture(6),
            "e.json": json.dumps({"captions": ["x", "y"], "caption": "z"}).encode(),
            "e.txt": b"unused",
        },
    )
    skips = Skips()
    found = list(read_tar(path, skips))
    assert found == [
        RawSample("a/2", picture(2, "JPEG"), ("one",)),
        RawSample("a/1", b"never decoded here", ("zwei drei",)),
        RawSample("e", picture(6), ("x", "y")),
    ]
    assert skips.reasons == {
        "no picture": 1,
        "no caption": 1,
        "caption is not UTF-8": 1,
        "caption is not JSON": 1,
    }


@pytest.mark.parametrize("damage", ["cut", "header", "no tar"])
def test_a_damaged_tar_is_never_taken_for_a_short_one(tmp_path: Path, damage: str) -> None:
    path = write_shards(tmp_path, [6])[0]
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[2600:]
    elif damage == "header":
        place = content.index(b"00000003.png")
        content[place : place + 100] = b"\xff" * 100
    else:
        content[:] = b"hello" * 500
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"00000\.tar is damaged .*: get it again or remove it"):
        list(read_tar(path, Skips()))


def test_too_many_bad_samples_end_the_run() -> None:
    skips = Skips()
    for number in range(1000):
        if number % 19:
            skips.good()
        elif number < 988:  # 52 of 1,000
            skips.bad("no caption", f"sample {number}")
    skips.seen = 999
    with pytest.raises(DataError, match=r"53 of 1000 .*52 x no caption, 1 x .* is last\)"):
        skips.bad("no picture", "last")
    few = Skips()
    for _ in range(900):
        few.bad("no caption", "x")


def test_a_set_is_tars_or_a_folder(tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "tars", [2, 1])
    assert [piece.name for piece in pieces_of(tmp_path / "tars")] == ["00000.tar", "00001.tar"]
    assert [piece.name for piece in pieces_of(shards[1])] == ["00001.tar"]
    (tmp_path / "folder").mkdir()
    for name in ("b", "a"):
        (tmp_path / "folder" / f"{name}.png").write_bytes(picture(1))
        (tmp_path / "folder" / f"{name}.txt").write_text(f"the {name}")
    (piece,) = pieces_of(tmp_path / "folder")
    assert isinstance(piece, FolderPiece)
    samples = list(piece.samples(Skips()))
    assert [(each.key, each.captions) for each in samples] == [
        ("a.png", ("the a",)),
        ("b.png", ("the b",)),
    ]
    before = piece.identity()
    (tmp_path / "folder" / "a.txt").write_text("another")
    assert pieces_of(tmp_path / "folder")[0].identity() != before
    with pytest.raises(DataError, match="no folder of tars or of captioned pictures"):
        pieces_of(tmp_path / "absent")
