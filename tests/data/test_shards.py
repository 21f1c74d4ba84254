"""Shards on disk: img2dataset's layout, energon's index, and what is wrong with either."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image
from shard_sets import good, make_bad, make_shards, picture, write_tar

from unclip.data.samples import Crop, Unusable, Whole
from unclip.data.shards.index import read_counts, write_index
from unclip.data.shards.pictures import ShardPictures, captions_in
from unclip.data.shards.sources import open_originals
from unclip.data.shards.write import Written, write_shards
from unclip.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven captioned pictures of different kinds and sizes; the fourth is none."""
    root = tmp_path / "folder"
    root.mkdir()
    kinds = {0: "PNG", 1: "WEBP"}
    for n in range(7):
        kind = kinds.get(n, "JPEG")
        name = f"{n}.{kind.lower()}"
        content = b"<html>" if n == 3 else picture(n, (40 + n, 30), kind)
        (root / name).write_bytes(content)
        (root / f"{n}.txt").write_text(f"picture {n}\nnumber {n}, again")
    return root


def write(folder: Path, out: Path, size_px: int | None = None, per_shard: int = 3) -> Written:
    return write_shards(
        open_originals(str(folder), size_px),
        out,
        size_px=size_px,
        per_shard=per_shard,
        jobs=1,
        tell=lambda line: None,
    )


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        files = [(member.name, tar.extractfile(member)) for member in tar]
        return {name: file.read() for name, file in files if file is not None}


def test_a_folder_as_shards(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = write(folder, out)
    assert (written.shards, written.kept, written.samples) == (3, 0, 6)
    assert dict(written.faults) == {"no PNG, JPEG or WebP": 1}
    first = members(out / "00000.tar")
    pictures = ("png", "webp", "jpg")
    assert list(first) == [
        f"00000{n}.{part}" for n in range(3) for part in (pictures[n], "txt", "json")
    ]
    assert first["000000.png"] == (folder / "0.png").read_bytes()
    assert first["000001.txt"].decode() == "picture 1\nnumber 1, again"
    rows = pyarrow.parquet.read_table(out / "00001.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["failed_to_resize", "success", "success"]
    assert rows[0]["error_message"] == "no PNG, JPEG or WebP"
    assert rows[1]["url"] == "4.jpeg"
    assert (rows[1]["key"], rows[1]["width"], rows[1]["height"]) == ("000011", 44, 30)
    stats = json.loads((out / "00001_stats.json").read_text())
    assert (stats["count"], stats["successes"], stats["failed_to_resize"]) == (3, 2, 1)

    indexed = write_index(out)
    assert (indexed.shards, indexed.samples, indexed.warnings()) == (3, 6, [])
    shards = ShardPictures(out, Whole(8))
    assert len(shards) == 6
    said = {shards[4, position]["caption"] for position in range(20)}
    assert said == {"picture 5", "number 5, again"}


def test_pictures_are_made_smaller_and_never_larger(folder: Path, tmp_path: Path) -> None:
    wide = np.tile(np.arange(400, dtype=np.uint32) % 256, (200, 1)).astype(np.uint8)
    Image.fromarray(wide).save(folder / "wide.png")
    (folder / "wide.txt").write_text("wide")
    write(folder, tmp_path / "out", size_px=30, per_shard=10)
    files = members(tmp_path / "out" / "00000.tar")
    assert files["000000.png"] == (folder / "0.png").read_bytes()  # 40 x 30 as it was
    with Image.open(io.BytesIO(files["000007.jpg"])) as small:
        assert (small.size, small.format) == ((60, 30), "JPEG")
    about = json.loads(files["000007.json"])
    assert (about["width"], about["original_width"]) == (60, 400)


def test_writing_goes_on_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(folder, out)
    whole = {path.name: path.read_bytes() for path in out.glob("*.tar")}
    (out / "00001_stats.json").unlink()
    (out / "00001.tar").write_bytes(b"half a shard")
    (out / "00002.tar.tmp").write_bytes(b"half a shard")
    kept = (out / "00000.tar").stat().st_mtime_ns
    assert write(folder, out).kept == 2
    assert {path.name: path.read_bytes() for path in out.glob("*.tar")} == whole
    assert (out / "00000.tar").stat().st_mtime_ns == kept
    with pytest.raises(ConfigError, match="with per_shard 3, now it is 4: choose another folder"):
        write(folder, out, per_shard=4)
    (folder / "2.txt").write_text("another caption")
    with pytest.raises(ConfigError, match="names_and_captions"):
        write(folder, out)
    with pytest.raises(ConfigError, match="that others made"):
        write(folder, make_shards(tmp_path / "other"))


def test_scenes_as_shards(tmp_path: Path) -> None:
    written = write(Path("scenes:3"), tmp_path / "out", size_px=64, per_shard=2)
    assert (written.shards, written.samples) == (2, 3)
    write_index(tmp_path / "out")
    sample = ShardPictures(tmp_path / "out", Crop(64))[2, 0]
    assert sample["image"].shape == (3, 64, 64)
    for source, size_px, says in (
        ("scenes:none", 64, "names no number of scenes"),
        ("scenes:0", 64, "names no number of scenes"),
        ("scenes:3", 32, "--size 32 is no size of a scene"),
    ):
        with pytest.raises(ConfigError, match=says):
            open_originals(source, size_px)


def test_faulty_indices(tmp_path: Path) -> None:
    root = make_shards(tmp_path / "shards", 2, 3)

    def refused(says: str) -> None:
        with pytest.raises(DataError, match=says) as caught:
            ShardPictures(root, Whole(8))
        assert "\n" not in str(caught.value)

    refused("without an index: run: unclip data index")
    write_index(root)
    info = root / ".nv-meta" / ".info.json"
    whole = info.read_text()
    info.write_text("{oops")
    refused("is no index of shards")
    info.write_text(whole.replace("00001.tar", "../00001.tar"))
    refused("outside the folder")
    info.write_text(whole)
    write_tar(root / "00002.tar", {"9": good(9)})
    refused("not in the index, 00002.tar: run: unclip data index")
    (root / "00000.tar").rename(tmp_path / "elsewhere")
    refused("the index names what is not there, 00000.tar")
    split = root / ".nv-meta" / "split.yaml"
    write_index(root)
    split.write_text("split_parts:\n  val: ['00001.tar']\n")
    refused("has no part train")
    with pytest.raises(DataError, match="has no shards: expected files like"):
        write_index(tmp_path)
    with pytest.raises(DataError, match="is no folder of shards"):
        write_index(tmp_path / "absent")
    write_tar(root / "00003.tar", {"9": good(9)})
    with pytest.raises(DataError, match=r"two samples are named '9', .* --fix-duplicates"):
        write_index(root)


def test_damaged_shards_are_indexed_as_far_as_they_go(tmp_path: Path) -> None:
    root = make_shards(tmp_path / "shards")
    make_bad(root)
    (root / "00002.tar").write_bytes(b"")
    (root / "00009.tar").write_bytes(b"<html>" * 200)
    indexed = write_index(root)
    assert indexed.cut_off == ["00003.tar after 6 samples"]
    assert indexed.unreadable == ["00002.tar", "00009.tar"]
    assert read_counts(root) == {"00000.tar": 8, "00001.tar": 8, "00003.tar": 6}
    pictures = ShardPictures(root, Whole(8))
    # What cannot be used is passed over here too; the last that is left stands before the cut.
    sample = pictures[21, 0]
    assert sample["faults"] == "00003.tar: cut off or unreadable"
    assert (sample["index"], sample["skipped"]) == (0, 1)
    with pytest.raises(Unusable, match=r"sample 21 in .*00003\.tar: cut off"):
        pictures.load(21, 0)


@pytest.mark.parametrize(
    ("parts", "captions"),
    [
        ({"txt": b"\xef\xbb\xbfa cat\non a mat"}, ("a cat on a mat",)),
        ({"txt": b"a cat", "json": b'{"captions": ["one", " ", "two"]}'}, ("one", "two")),
        ({"txt": b"a cat", "json": b'{"caption": "one"}'}, ("a cat",)),
        ({"txt": b"a cat", "json": b"{oops"}, ("a cat",)),
        ({"json": b'{"text": "one"}'}, ("one",)),
        ({"txt": b" \n"}, "empty caption"),
        ({"txt": b"caf\xe9"}, "caption is not UTF-8"),
        ({"json": b'{"url": "x"}'}, "no caption"),
        ({"json": b'["x"]'}, "no caption"),
    ],
)
def test_captions_in_shards(parts: dict[str, bytes], captions: tuple[str, ...] | str) -> None:
    if isinstance(captions, tuple):
        assert captions_in(parts) == captions
        return
    with pytest.raises(Unusable) as caught:
        captions_in(parts)
    assert caught.value.reason == captions
