"""Writing a folder of embeddings part by part: a part is there whole or not at all.

A part's files are written beside their places, flushed and renamed; its record `parts/part_0.json`
comes last. So whoever goes on knows what is done by the records, and checks it by their hashes.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from unclip.data.embeddings import (
    BETWEEN_CAPTIONS,
    MANIFEST,
    Making,
    Part,
    manifest_of,
    part_files,
)
from unclip.errors import BackendError, DataError


class Rows(NamedTuple):
    """What stands in a part."""

    keys: list[str]
    captions: list[tuple[str, ...]]
    image_embeds: np.ndarray
    text_embeds: np.ndarray


def write_part(
    root: Path, making: Making, rows: Rows, *, number: int, shard: str, identity: str, skipped: dict
) -> Part:
    """Writes a part, in the place of an older one.

    Raises:
        DataError: it cannot be written, a full disk for instance.
        BackendError: pyarrow is not installed.
    """
    record = root / "parts" / f"part_{number}.json"
    texts = [BETWEEN_CAPTIONS.join(map(str.encode, row)) for row in rows.captions]
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    arrays = {
        "img_emb": rows.image_embeds.astype(making.dtype),
        "text_emb": rows.text_embeds.astype(making.dtype),
        "captions": np.frombuffer(b"".join(texts), np.uint8),
        "ends": ends,
    }
    names = part_files(number)
    try:
        for kind in ("img_emb", "text_emb", "metadata", "captions", "parts"):
            (root / kind).mkdir(parents=True, exist_ok=True)
        for outdated in (root / MANIFEST, record):
            outdated.unlink(missing_ok=True)
        files = {
            names[kind]: _write(root / names[kind], lambda file, a=array: np.save(file, a))
            for kind, array in arrays.items()
        }
        files[names["metadata"]] = _write(
            root / names["metadata"], lambda file: _write_table(file, rows)
        )
        part = Part(
            number=number,
            shard=shard,
            identity=identity,
            count=len(rows.keys),
            skipped=skipped,
            files=files,
        )
        content = json.dumps({"making": asdict(making), "part": asdict(part)}, indent=1) + "\n"
        _write(record, lambda file: file.write(content.encode()))
    except OSError as error:
        raise DataError(f"cannot write {root}: {error.strerror or error}") from error
    return part


def read_part(root: Path, number: int) -> tuple[Making, Part] | None:
    """Reads a part's record; None if it was never finished."""
    record = root / "parts" / f"part_{number}.json"
    try:
        about = json.loads(record.read_text(encoding="utf-8"))
        return Making(**about["making"]), Part(**about["part"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{record} cannot be read ({error!r}): remove it") from error


def is_whole(root: Path, part: Part) -> bool:
    """Compares a part's files with the hashes in its record."""
    for name, about in part.files.items():
        path = root / name
        if not path.is_file() or path.stat().st_size != about["bytes"]:
            return False
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != about["sha256"]:
                return False
    return True


def part_numbers(root: Path) -> list[int]:
    """The numbers of all finished parts."""
    names = [path.stem.removeprefix("part_") for path in (root / "parts").glob("part_*.json")]
    return sorted(int(name) for name in names if name.isdecimal())


def write_manifest(root: Path, making: Making, parts: list[Part]) -> None:
    """Writes the manifest, which makes the folder one that can be read.

    Raises:
        DataError: it cannot be written.
    """
    content = json.dumps(manifest_of(making, parts), indent=1) + "\n"
    try:
        _write(root / MANIFEST, lambda file: file.write(content.encode()))
    except OSError as error:
        raise DataError(f"cannot write {root / MANIFEST}: {error.strerror or error}") from error


def _write(path: Path, content: Callable[[BinaryIO], object]) -> dict[str, object]:
    beside = path.with_name(f"{path.name}.partial")
    with beside.open("wb") as file:
        content(file)
        file.flush()
        os.fsync(file.fileno())
    with beside.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = beside.stat().st_size
    os.replace(beside, path)
    return {"bytes": size, "sha256": digest}


def _write_table(file: BinaryIO, rows: Rows) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise BackendError("Parquet needs pyarrow: pip install 'unclip[train]'") from error
    text = pyarrow.string()
    table = pyarrow.table(
        {
            "image_path": pyarrow.array(rows.keys, text),
            "caption": pyarrow.array([row[0] for row in rows.captions], text),
            "captions": pyarrow.array([list(row) for row in rows.captions], pyarrow.list_(text)),
        }
    )
    parquet.write_table(table, file)
