"""Embeddings that another program made, in clip-retrieval's layout: taken over part by part.

They carry no name of their CLIP. Their text embeddings show it: they must be what this CLIP says of
the captions (`unclip.training.embed` compares them).
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unclip.data.embedding_parts import Rows
from unclip.data.images import captions_of
from unclip.data.tars import Skips
from unclip.errors import BackendError, DataError

IMAGES = re.compile(r"img_emb_(\d+)\.npy")
COLUMNS = ("image_path", "caption", "captions")


@dataclass(frozen=True)
class RetrievalPiece:
    """The files of one number: img_emb_0.npy, text_emb_0.npy and metadata_0.parquet."""

    root: Path
    number: str
    """As the names have it, with its zeros."""

    @property
    def name(self) -> str:
        """What it is called in records and messages."""
        return f"img_emb_{self.number}.npy"

    def identity(self) -> str:
        """Changes when the piece does: sizes, and the first and last embeddings.

        Raises:
            DataError: a file is missing or cannot be read.
        """
        digest = hashlib.sha256()
        for path in (*(self._array_path(kind) for kind in ("img", "text")), self._table_path()):
            try:
                digest.update(str(path.stat().st_size).encode())
            except OSError as error:
                raise DataError(f"cannot read {path}: {error.strerror or error}") from error
        for kind in ("img", "text"):
            rows = self._array(kind)
            digest.update(rows[:64].tobytes() + rows[-64:].tobytes())
        return digest.hexdigest()[:16]

    def rows(self, skips: Skips) -> Rows:
        """Reads the part; rows without caption, or of zeros or no numbers, are skipped.

        Raises:
            DataError: a file is missing or cannot be read, or they differ in length.
            BackendError: pyarrow is not installed.
        """
        table, images, texts = self._table(), self._array("img"), self._array("text")
        if not len(table) == len(images) == len(texts) or images.shape != texts.shape:
            raise DataError(
                f"{self.root}: part {self.number} has {images.shape} image embeddings, "
                f"{texts.shape} text embeddings and {len(table)} rows of metadata, expected as many"
            )
        usable = np.asarray(np.isfinite(images).all(1) & images.any(1))
        keys, captions, kept = [], [], []
        for place, row in enumerate(table):
            key, found = str(row.get("image_path", place)), captions_of(row)
            if not usable[place] or not found:
                skips.bad("no caption" if usable[place] else "no embedding", key)
                continue
            skips.good()
            keys.append(key)
            captions.append(found)
            kept.append(place)
        return Rows(keys, captions, images[kept], texts[kept])

    def _array_path(self, kind: str) -> Path:
        return self.root / f"{kind}_emb" / f"{kind}_emb_{self.number}.npy"

    def _table_path(self) -> Path:
        return self.root / "metadata" / f"metadata_{self.number}.parquet"

    def _array(self, kind: str) -> np.ndarray:
        path = self._array_path(kind)
        try:
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"cannot read {path}: {error}") from error
        if rows.ndim != 2 or rows.dtype.kind != "f":
            raise DataError(f"{path} holds {rows.shape} {rows.dtype}, expected rows of numbers")
        return rows

    def _table(self) -> list[dict[str, Any]]:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise BackendError("Parquet needs pyarrow: pip install 'unclip[train]'") from error
        path = self._table_path()
        try:
            names = set(parquet.read_schema(path).names) & set(COLUMNS)
            return parquet.read_table(path, columns=sorted(names)).to_pylist()
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(f"cannot read {path}: {' '.join(str(error).split())}") from error


def retrieval_pieces(root: Path) -> list[RetrievalPiece]:
    """Lists the parts of a folder in clip-retrieval's layout by number."""
    found = [IMAGES.fullmatch(path.name) for path in (root / "img_emb").iterdir()]
    numbers = sorted((match[1] for match in found if match), key=int)
    return [RetrievalPiece(root, number) for number in numbers]
