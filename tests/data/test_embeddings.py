"""Folders of embeddings: every row as it was written, whatever part it is in; and their whitening.

The rows are compared with what was written, the whitening with NumPy over all rows at once.
"""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from unclip.data.embedding_parts import Rows, is_whole, read_part, write_manifest, write_part
from unclip.data.embeddings import EmbeddedPictures, EmbeddingFolder, Making
from unclip.data.whitening import Moments, measure, read_whitening
from unclip.errors import DataError

MAKING = Making(clip="abc", dim=6, dtype="float16", preprocessing="as it is")
COUNTS = [5, 0, 300, 1]


def make_rows(number: int, count: int) -> Rows:
    rng = np.random.default_rng(number)
    return Rows(
        [f"{number}-{row}" for row in range(count)],
        [tuple(f"r{row} ü{i}" for i in range(1 + row % 3)) for row in range(count)],
        rng.normal(size=(count, 6)).astype(np.float32) * [1, 2, 3, 4, 5, 6] + 40,
        rng.normal(size=(count, 6)).astype(np.float32),
    )


def write(root: Path, counts: list[int] = COUNTS, making: Making = MAKING) -> Path:
    parts = [
        write_part(
            root,
            making,
            make_rows(number, count),
            number=number,
            shard=f"{number:05d}.tar",
            identity="x",
            skipped={"no caption": 2},
        )
        for number, count in enumerate(counts)
    ]
    write_manifest(root, making, parts)
    return root


def test_every_row_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = EmbeddingFolder(write(tmp_path))
    assert len(folder) == 306
    again = pickle.loads(pickle.dumps(folder))  # as for a process that loads data
    index = 0
    for number, count in enumerate(COUNTS):
        rows = make_rows(number, count)
        for row in range(count):
            found = folder[index] if index % 2 else again[index]
            np.testing.assert_array_equal(
                found.image_embed, rows.image_embeds[row].astype(np.float16)
            )
            assert found.captions == rows.captions[row]
            index += 1
    assert isinstance(folder.embeds(2), np.memmap)


def test_the_layout_is_clip_retrievals(tmp_path: Path) -> None:
    root, rows = write(tmp_path), make_rows(2, 300)
    np.testing.assert_array_equal(
        np.load(root / "text_emb" / "text_emb_2.npy"), rows.text_embeds.astype(np.float16)
    )
    table = parquet.read_table(root / "metadata" / "metadata_2.parquet").to_pydict()
    assert table["image_path"] == rows.keys
    assert table["caption"] == [captions[0] for captions in rows.captions]
    assert table["captions"] == [list(captions) for captions in rows.captions]
    about = json.loads((root / "embeddings.json").read_text())
    assert (about["count"], about["skipped"]) == (306, {"no caption": 8})


def test_a_sample_is_a_function_of_its_place_in_the_stream(tmp_path: Path) -> None:
    data = EmbeddedPictures(EmbeddingFolder(write(tmp_path)), seed=3)
    assert len(data) == 306
    first, row = data[7, 1000], data.folder[7]
    assert first["caption"] in row.captions
    assert first["image_embed"].tolist() == row.image_embed.astype(np.float32).tolist()
    assert {data[7, position]["caption"] for position in range(40)} == set(row.captions)
    assert [data[7, p]["caption"] for p in range(9)] == [data[7, p]["caption"] for p in range(9)]


def test_what_is_not_as_the_manifest_says_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no embeddings\.json: make it with unclip data embed"):
        EmbeddingFolder(tmp_path)
    root = write(tmp_path / "a")
    manifest = (root / "embeddings.json").read_text()
    (root / "embeddings.json").write_text(manifest.replace('"abc"', '"abd"'))
    with pytest.raises(DataError, match="was changed"):
        EmbeddingFolder(root)
    (root / "embeddings.json").write_text(manifest)
    file = root / "img_emb" / "img_emb_2.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"img_emb_2\.npy has 3727 bytes, its manifest says 3728"):
        EmbeddingFolder(root)
    file.unlink()
    with pytest.raises(DataError, match="has no file"):
        EmbeddingFolder(root)
    (root / "embeddings.json").unlink()
    with pytest.raises(DataError, match="its embedding is unfinished"):
        EmbeddingFolder(root)
    with pytest.raises(DataError, match="has no embeddings: "):
        EmbeddingFolder(write(tmp_path / "empty", [0]))


def test_a_part_is_checked_by_its_hashes(tmp_path: Path) -> None:
    root = write(tmp_path)
    record = read_part(root, 0)
    assert record is not None
    assert is_whole(root, record[1])
    file = root / "captions" / "captions_0.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert not is_whole(root, record[1])


def test_the_whitening_is_that_of_all_rows(tmp_path: Path) -> None:
    folder = EmbeddingFolder(write(tmp_path))
    measure(folder)
    parts = [make_rows(number, count).image_embeds for number, count in enumerate(COUNTS)]
    rows = np.concatenate(parts).astype(np.float16)
    mean, std = read_whitening(folder)
    np.testing.assert_allclose(mean, rows.mean(0, dtype=np.float64), rtol=1e-13)
    np.testing.assert_allclose(std, rows.std(0, ddof=1, dtype=np.float64), rtol=1e-12)


def test_pieces_join_to_the_whole_far_from_zero() -> None:
    rows = np.random.default_rng(0).normal(size=(2000, 3)) * 1e-3 + [1e4, -1e5, 0]
    joined = Moments.of(rows[:1])
    for start, end in ((1, 2), (2, 900), (900, 1999), (1999, 2000)):
        joined = joined.join(Moments.of(rows[start:end]))
    assert joined.count == 2000
    np.testing.assert_allclose(joined.mean, rows.mean(0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(joined.std(), rows.std(0, ddof=1), rtol=1e-7)


def test_a_whitening_of_other_embeddings_is_refused(tmp_path: Path) -> None:
    folder = EmbeddingFolder(write(tmp_path))
    with pytest.raises(DataError, match=r"has no stats\.json.*: run unclip data stats "):
        read_whitening(folder)
    measure(folder)
    changed = EmbeddingFolder(write(tmp_path, [5, 0, 300, 2]))
    with pytest.raises(DataError, match=r"measured on other embeddings \(\w+, 306 of them\)"):
        read_whitening(changed)
    measure(changed)
    read_whitening(changed)
    with pytest.raises(DataError, match=r"the 1 embeddings of .* cannot be whitened"):
        measure(EmbeddingFolder(write(tmp_path / "one", [1])))
