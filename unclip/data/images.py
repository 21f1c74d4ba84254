"""An ordinary folder of captioned pictures as a training set.

Captions stand in a `.txt` or `.json` beside each picture, or in one `metadata.jsonl` or
`metadata.csv` (`file_name` and `caption`, `text` or `captions`, as Hugging Face's imagefolder). A
picture may have several.
"""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from unclip.data.pictures import DAMAGE, FORMATS, MAX_PIXELS, plain
from unclip.errors import DataError

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
    tables = [root / name for name in ("metadata.jsonl", "metadata.csv") if (root / name).is_file()]
    if len(tables) > 1:
        raise DataError(f"{root} has both metadata.jsonl and metadata.csv: keep one")
    records = _from_table(root, tables[0]) if tables else _from_neighbours(root, caption)
    if not records:
        raise DataError(
            f"{root} has no captioned pictures: put a .txt beside each picture, or one "
            "metadata.jsonl with file_name and caption"
        )
    return records


def _from_table(root: Path, table: Path) -> list[Record]:
    rows = _read_csv(table) if table.suffix == ".csv" else _read_jsonl(table)
    records, absent = [], []
    for number, row in rows:
        name = row.get("file_name")
        captions = _captions(row)
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
            captions = _captions(_read_json(data))
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


def _captions(row: dict[str, Any]) -> tuple[str, ...]:
    for key in TEXT_KEYS:
        value = row.get(key)
        values = value if isinstance(value, list) else [value]
        found = tuple(item.strip() for item in values if isinstance(item, str) and item.strip())
        if found:
            return found
    return ()


def open_picture(path: Path) -> Image.Image:
    """Opens a picture as RGB, upright, transparency on white.

    Raises:
        any of DAMAGE: it cannot be decoded, or has more than 64 million pixels.
    """
    with Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width}x{image.height} pixels are too many")
        return plain(image)


def to_tensor(image: Image.Image) -> Float[Tensor, "3 height width"]:
    """Turns an RGB picture into values in [-1, 1]."""
    pixels = torch.from_numpy(np.array(image))
    return pixels.permute(2, 0, 1).float() / 127.5 - 1


def fit_square(image: Image.Image, size_px: int) -> Image.Image:
    """Resizes the shorter side to `size_px` (bicubic, antialiased) and crops the centre."""
    if image.size == (size_px, size_px):
        return image
    return ImageOps.fit(image, (size_px, size_px), Image.Resampling.BICUBIC)


def random_crop(image: Image.Image, crop_px: int, rng: np.random.Generator) -> Image.Image:
    """Cuts a random square, nothing resized.

    Raises:
        ValueError: the picture is smaller.
    """
    if min(image.size) < crop_px:
        raise ValueError(f"{image.width}x{image.height} pixels are fewer than {crop_px}")
    left, top = (int(rng.integers(side - crop_px + 1)) for side in image.size)
    return image.crop((left, top, left + crop_px, top + crop_px))


class CaptionedImages:
    """Whole pictures of one size with one of their captions, by (index, position in the stream).

    The caption is a function of the seed and the position. A picture that cannot be used is
    skipped: the next one stands in, and `skipped` counts them.
    """

    def __init__(
        self, root: str | Path, size_px: int, seed: int = 0, caption: str | None = None
    ) -> None:
        self.records = read_folder(root, caption)
        self.size_px, self.seed = size_px, seed

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """Returns image (3, size, size) in [-1, 1], caption, index and skipped."""
        return _sample(
            self.records, key, self.seed, lambda image, _: fit_square(image, self.size_px)
        )


class ImageCrops:
    """Random squares of pictures at their own resolution, by (index, position in the stream).

    The square is a function of the seed and the position.
    """

    def __init__(
        self, root: str | Path, crop_px: int, seed: int = 0, caption: str | None = None
    ) -> None:
        self.records = read_folder(root, caption)
        self.crop_px, self.seed = crop_px, seed

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """Returns image (3, crop, crop) in [-1, 1], caption, index and skipped."""
        return _sample(
            self.records, key, self.seed, lambda image, rng: random_crop(image, self.crop_px, rng)
        )


def _sample(
    records: list[Record],
    key: tuple[int, int],
    seed: int,
    prepare: Callable[[Image.Image, np.random.Generator], Image.Image],
) -> dict[str, Any]:
    """Loads a record, or the next one that can be loaded."""
    index, position = key
    rng = np.random.default_rng([seed, position])
    reason = ""
    for skipped in range(len(records)):
        record = records[(index + skipped) % len(records)]
        try:
            image = prepare(open_picture(record.path), rng)
        except (*DAMAGE, Image.DecompressionBombError) as error:
            reason = f"{record.path}: {error}"
            continue
        caption = record.captions[int(rng.integers(len(record.captions)))]
        image_index = (index + skipped) % len(records)
        tensor = to_tensor(image)
        return {"image": tensor, "caption": caption, "index": image_index, "skipped": skipped}
    raise DataError(f"none of {len(records)} pictures can be used; the last: {reason}")
