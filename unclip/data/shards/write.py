"""Writes captioned pictures as shards in img2dataset's layout.

`00000.tar` holds KEY.jpg (or .png, .webp), KEY.txt and KEY.json; beside it stand `00000.parquet`, a
row for every picture, and `00000_stats.json`. A shard is a pure function of its number; its files
are renamed into place one after another, the stats last, so that a shard with stats is whole and
the same command goes on with the rest.
"""

import hashlib
import io
import json
import os
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import ceil, log10
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from PIL import Image

from unclip.data.pictures import DAMAGE, FORMATS, MAX_PIXELS
from unclip.data.samples import TooLargeError, open_picture, why
from unclip.data.shards.sources import Original, Pictures
from unclip.errors import BackendError, ConfigError, DataError

SETTINGS = "shards.json"
SUFFIX = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp"}
QUALITY = 95
"""Of a JPEG that is made smaller, as img2dataset has it."""


@dataclass
class Written:
    """What became of the pictures."""

    shards: int = 0
    kept: int = 0
    """Shards that were there already."""
    samples: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    """Pictures that could not be used, by reason."""


def write_shards(
    pictures: Pictures,
    out: Path,
    *,
    size_px: int | None,
    per_shard: int,
    jobs: int,
    tell: Callable[[str], None],
) -> Written:
    """Writes all shards that are not there yet.

    Args:
        size_px: pictures whose shorter side is larger are made so small; None keeps all as they
            are.
        tell: is called with a line for each shard.

    Raises:
        ConfigError: the folder holds shards of something else.
        DataError: a shard cannot be written.
        BackendError: pyarrow is not installed.
    """
    _need_pyarrow()
    _claim(out, {**pictures.about(), "size": size_px, "per_shard": per_shard})
    numbers = range(ceil(len(pictures) / per_shard))
    missing = [number for number in numbers if not (out / f"{number:05d}_stats.json").is_file()]
    parts = [pictures.part(n * per_shard, (n + 1) * per_shard) for n in missing]
    task = partial(_write, out=out, size_px=size_px, per_shard=per_shard)
    try:
        with _mapper(min(jobs, len(missing))) as run:
            for number, count in zip(missing, run(task, missing, parts), strict=True):
                tell(f"{number:05d}.tar: {count} pictures")
    except OSError as error:
        raise DataError(f"cannot write to {out}: {error.strerror or error}") from error
    written = Written(shards=len(numbers), kept=len(numbers) - len(missing))
    for number in numbers:
        stats = json.loads((out / f"{number:05d}_stats.json").read_text(encoding="utf-8"))
        written.samples += stats["successes"]
        written.faults.update(stats["status_dict"])
    del written.faults["success"]
    return written


@contextmanager
def _mapper(jobs: int) -> Iterator[Callable[..., Iterator[int]]]:
    """Gives a `map` over so many processes; one needs none."""
    if jobs <= 1:
        yield map
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield pool.map


def _need_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise BackendError("writing shards needs pyarrow: pip install 'unclip[train]'") from error


def _claim(out: Path, settings: dict[str, Any]) -> None:
    """Notes what the folder is to hold, so that no other command goes on with it."""
    file = out / SETTINGS
    try:
        out.mkdir(parents=True, exist_ok=True)
        if file.is_file():
            held = json.loads(file.read_text(encoding="utf-8"))
            differ = [key for key in settings if held.get(key) != settings[key]]
            if differ:
                raise ConfigError(
                    f"{out} holds shards with {differ[0]} {held.get(differ[0])!r}, now it is "
                    f"{settings[differ[0]]!r}: choose another folder, or the same settings"
                )
        elif any(out.glob("*.tar")):
            raise ConfigError(f"{out} holds shards that others made: choose another folder")
        else:
            with _into_place(file) as place:
                place.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise DataError(f"cannot use the folder {out}: {error}") from error


@contextmanager
def _into_place(path: Path) -> Iterator[Path]:
    """Gives a place to write to, that is flushed and renamed when all went well."""
    beside = path.with_name(f"{path.name}.tmp")
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _write(
    number: int, pictures: Pictures, *, out: Path, size_px: int | None, per_shard: int
) -> int:
    """Writes one shard; returns its number of samples."""
    started, rows = time.time(), []
    digits = max(1, ceil(log10(per_shard)))
    with (
        _into_place(out / f"{number:05d}.tar") as place,
        tarfile.open(place, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for index in range(len(pictures)):
            key = f"{number:05d}{index:0{digits}d}"
            rows.append(_add(tar, key, pictures.original(index), size_px))
    with _into_place(out / f"{number:05d}.parquet") as place:
        _write_parquet(place, rows)
    status = Counter(row["error_message"] or row["status"] for row in rows)
    stats = {
        "count": len(rows),
        "successes": status["success"],
        "failed_to_download": 0,
        "failed_to_resize": len(rows) - status["success"],
        "duration": time.time() - started,
        "start_time": started,
        "end_time": time.time(),
        "status_dict": dict(status),
    }
    with _into_place(out / f"{number:05d}_stats.json") as place:
        place.write_text(json.dumps(stats, indent=1) + "\n", encoding="utf-8")
    return status["success"]


def _add(tar: tarfile.TarFile, key: str, original: Original, size_px: int | None) -> dict[str, Any]:
    """Adds a picture with its captions; returns its row of metadata."""
    row = {
        "url": original.name,
        "caption": original.captions[0],
        "key": key,
        "status": "success",
        "error_message": None,
        "width": None,
        "height": None,
        "original_width": None,
        "original_height": None,
        "sha256": None,
    }
    try:
        content = original.read()
        content, suffix, size, original_size = _fit(content, size_px)
    except (*DAMAGE, Image.DecompressionBombError) as error:
        return {**row, "status": "failed_to_resize", "error_message": why(error)}
    row["width"], row["height"] = size
    row["original_width"], row["original_height"] = original_size
    row["sha256"] = hashlib.sha256(content).hexdigest()
    about = {**row, "captions": list(original.captions)}
    for name, part in (
        (suffix, content),
        ("txt", "\n".join(original.captions).encode()),
        ("json", json.dumps(about, ensure_ascii=False).encode()),
    ):
        member = tarfile.TarInfo(f"{key}.{name}")
        member.size = len(part)
        tar.addfile(member, io.BytesIO(part))
    return row


def _fit(
    content: bytes, size_px: int | None
) -> tuple[bytes, str, tuple[int, int], tuple[int, int]]:
    """Makes a picture smaller where it is larger; returns it, its suffix, size and former size."""
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        before, kind = image.size, str(image.format)
        if before[0] * before[1] > MAX_PIXELS:
            raise TooLargeError(f"{before[0]}x{before[1]} pixels are too many")
    if size_px is None or min(before) <= size_px:
        return content, SUFFIX[kind], before, before
    picture = open_picture(io.BytesIO(content), size_px)
    scale = size_px / min(picture.size)
    width, height = (max(size_px, round(side * scale)) for side in picture.size)
    file = io.BytesIO()
    picture.resize((width, height), Image.Resampling.BICUBIC).save(file, "JPEG", quality=QUALITY)
    return file.getvalue(), "jpg", (width, height), before


def _write_parquet(place: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    text = ("url", "caption", "key", "status", "error_message", "sha256")
    fields = [(name, pyarrow.string() if name in text else pyarrow.int32()) for name in rows[0]]
    table = pyarrow.Table.from_pylist(rows, schema=pyarrow.schema(fields))
    pyarrow.parquet.write_table(table, place)
