"""An ordinary folder of captioned pictures as a training set.

Captions stand in a `.txt` or `.json` beside each picture, or in one `metadata.jsonl`,
`metadata.csv` or `metadata.parquet` (`file_name` and `caption`, `text` or `captions`, as Hugging
Face's imagefolder). A picture may have several.
"""

import csv
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unclip.data.samples import Crop, Prepare, Unusable, Whole, make_sample, stand_in
from unclip.errors import BackendError, DataError

TABLES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
TEXT_KEYS = ("captions", "caption", "text")


class Record(NamedTuple):
    """A picture and what it shows."""

    path: Path
    captions: tuple[str, ...]


def read_folder(root: str | Path, caption: str | None = None) -> list[Record]:
    """Lists the captioned pictures of a folder, in a fixed order.

    Args:
        caption: of pictures that have none beside them; None leaves them out.

    Raises:
        DataError: there is no such folder, it has two kinds of captions, none, or some that cannot
            be read, or metadata that names pictures that are not there.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root} is no folder of pictures")
    tables = [root / name for name in TABLES if (root / name).is_file()]
    if len(tables) > 1:
        raise DataError(f"{root} has both {tables[0].name} and {tables[1].name}: keep one")
    records = _from_table(root, tables[0]) if tables else _from_neighbours(root, caption)
    if not records:
        raise DataError(
            f"{root} has no captioned pictures: put a .txt beside each picture, or one "
            "metadata.jsonl with file_name and caption"
        )
    return records


def _from_table(root: Path, table: Path) -> list[Record]:
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    rows = readers[table.suffix](table)
    records, absent = [], []
    for number, row in rows:
        name = row.get("file_name")
        captions = captions_of(row)
        if not isinstance(name, str) or not captions:
            raise DataError(f"{table} line {number} lacks file_name or caption")
        path = root / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(f"{table} line {number} names {name!r}, which lies outside the folder")
        (records if path.is_file() else absent).append(Record(path, captions))
    if absent:
        names = ", ".join(str(record.path.relative_to(root)) for record in absent[:5])
        raise DataError(f"{table} names {len(absent)} pictures that are not there: {names}")
    for record in records:
        for beside in (record.path.with_suffix(".txt"), record.path.with_suffix(".json")):
            if beside.is_file():
                raise DataError(f"{table} and {beside} both caption {record.path.name}: keep one")
    return records


def _read_text(path: Path) -> str:
    """Reads UTF-8, without the mark that spreadsheets and some editors put first."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: save it as UTF-8") from error


def _read_jsonl(table: Path) -> list[tuple[int, dict[str, Any]]]:
    rows = []
    # Not splitlines: a caption may hold a Unicode line separator.
    for number, line in enumerate(_read_text(table).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{table} line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise DataError(f"{table} line {number} is not a JSON object")
        rows.append((number, row))
    return rows


def _read_csv(table: Path) -> list[tuple[int, dict[str, Any]]]:
    file = io.StringIO(_read_text(table), newline="")
    try:
        return [(number, dict(row)) for number, row in enumerate(csv.DictReader(file), 2)]
    except csv.Error as error:
        raise DataError(f"{table} cannot be read as CSV: {error}") from error


def _read_parquet(table: Path) -> list[tuple[int, dict[str, Any]]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise BackendError(
            f"{table} needs pyarrow: pip install 'unclip[train]', or write metadata.jsonl"
        ) from error
    try:
        names = set(pyarrow.parquet.read_schema(table).names) & {"file_name", *TEXT_KEYS}
        rows = pyarrow.parquet.read_table(table, columns=sorted(names)).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{table} cannot be read as Parquet: {reason}") from error
    return list(enumerate(rows, 1))


def _from_neighbours(root: Path, caption: str | None) -> list[Record]:
    records = []
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in SUFFIXES:
            continue
        text, data = path.with_suffix(".txt"), path.with_suffix(".json")
        if text.is_file() and data.is_file():
            raise DataError(f"{path} has both a .txt and a .json caption: keep one")
        if text.is_file():
            captions = tuple(filter(None, map(str.strip, _read_text(text).splitlines())))
        elif data.is_file():
            captions = captions_of(_read_json(data))
            if not captions:
                raise DataError(f"{data} has no caption: give it the key {' or '.join(TEXT_KEYS)}")
        else:
            captions = () if caption is None else (caption,)
        if captions:
            records.append(Record(path, captions))
    return records


def _read_json(path: Path) -> dict[str, Any]:
    try:
        row = json.loads(_read_text(path))
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from error
    return row if isinstance(row, dict) else {"captions": row}


def captions_of(row: dict[str, Any]) -> tuple[str, ...]:
    """Finds the captions of a row or a `.json`, under the first of TEXT_KEYS that has any."""
    for key in TEXT_KEYS:
        value = row.get(key)
        values = value if isinstance(value, list) else [value]
        found = tuple(item.strip() for item in values if isinstance(item, str) and item.strip())
        if found:
            return found
    return ()


class FolderSamples:
    """Pictures of a folder with one of their captions, by (index, position in the stream).

    Caption and crop are functions of the seed and the position. A picture that cannot be used is
    skipped: the next one stands in, `skipped` counts them and `faults` says why.
    """

    def __init__(
        self, root: str | Path, prepare: Prepare, seed: int = 0, caption: str | None = None
    ) -> None:
        self.root, self.records = Path(root), read_folder(root, caption)
        self.prepare, self.seed = prepare, seed

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """Returns image (3, height, width) in [-1, 1], caption, index, skipped and faults."""
        return stand_in(self.load, key, len(self))

    def load(self, index: int, position: int) -> dict[str, Any]:
        """Returns a record's image, caption and index.

        Raises:
            Unusable: the picture cannot be used.
        """
        record, rng = self.records[index], np.random.default_rng([self.seed, position])
        try:
            sample = make_sample(record.path, record.captions, self.prepare, rng)
        except Unusable as fault:
            raise fault.at(self.root.name, str(record.path)) from fault
        return {**sample, "index": index}


class CaptionedImages(FolderSamples):
    """Whole pictures of one size: the shorter side resized, the centre cropped."""

    def __init__(
        self, root: str | Path, size_px: int, seed: int = 0, caption: str | None = None
    ) -> None:
        super().__init__(root, Whole(size_px), seed, caption)


class ImageCrops(FolderSamples):
    """Random squares of pictures at their own resolution."""

    def __init__(
        self, root: str | Path, crop_px: int, seed: int = 0, caption: str | None = None
    ) -> None:
        super().__init__(root, Crop(crop_px), seed, caption)
