"""A set that travels is the set: same table, same SVGs, pictures that look the same."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unclip.data.drawings.records import TABLE, read_set, read_table, table_text
from unclip.data.drawings.travel import BITMAP_PX, main, pack, unpack
from unclip.errors import DataError, InputError


@pytest.fixture
def few(tiny_set: Path, tmp_path: Path) -> Path:
    """Three drawings, one of them without its SVG."""
    folder = tmp_path / "few"
    drawings = read_set(tiny_set)[:3]
    drawings[0] = replace(drawings[0], svg=None)
    for drawing in drawings:
        for name in filter(None, (drawing.file_name, drawing.svg)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(tiny_set / name, folder / name)
    (folder / TABLE).write_text(table_text(drawings), encoding="utf-8")
    return folder


def test_there_and_back(few: Path, tmp_path: Path) -> None:
    size = pack(few, tmp_path / "away" / "set.tar.xz")
    assert size == (tmp_path / "away" / "set.tar.xz").stat().st_size
    there = tmp_path / "there" / "set"
    assert unpack(tmp_path / "away" / "set.tar.xz", there, jobs=1) == 3
    assert read_table(there) == read_table(few)
    bitmap, *vectors = read_table(few)
    with Image.open(there / bitmap.file_name) as image:
        assert image.size == (BITMAP_PX, BITMAP_PX)
    for drawing in vectors:
        assert drawing.svg is not None
        assert (there / drawing.svg).read_bytes() == (few / drawing.svg).read_bytes()
        pictures = []
        for folder in (there, few):
            with Image.open(folder / drawing.file_name) as image:
                assert image.size == (256, 256)
                alpha = np.asarray(image.convert("RGBA").getchannel("A"), np.float32)
                pictures.append(alpha)
        assert np.abs(pictures[0] - pictures[1]).mean() < 2
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["set"]


def test_what_cannot_travel(few: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no finished set"):
        pack(tmp_path, tmp_path / "a.tar.xz")
    archive = tmp_path / "set.tar.xz"
    pack(few, archive)
    with pytest.raises(InputError, match="is not empty"):
        unpack(archive, few, jobs=1)
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(DataError, match="damaged or cannot be unpacked"):
        unpack(archive, tmp_path / "there", jobs=1)
    assert not (tmp_path / "there").exists()
    (few / read_table(few)[1].file_name).unlink()  # not needed: it is rendered anew
    pack(few, archive)
    svg = read_table(few)[1].svg
    assert svg is not None
    (few / svg).unlink()
    with pytest.raises(DataError, match="lacks a file of its table"):
        pack(few, archive)


def test_the_command(few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, there = str(tmp_path / "set.tar.xz"), str(tmp_path / "there")
    assert main(["pack", str(few), archive]) == 0
    assert capsys.readouterr().out.endswith(f"MiB in {archive}\n")
    assert main(["unpack", archive, there, "--jobs", "1"]) == 0
    assert capsys.readouterr().out == f"3 drawings in {there}\n"
    assert main(["unpack", archive, there]) == 2
    assert "is not empty" in capsys.readouterr().err
