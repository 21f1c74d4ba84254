"""A captioned set as pieces that can be worked on apart: tars, stretches of a folder, or parts that
are embedded already."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unclip.data.images import Record, read_folder
from unclip.data.retrieval import RetrievalPiece, retrieval_pieces
from unclip.data.tars import RawSample, Skips, read_tar
from unclip.errors import DataError

PICTURES_PER_PIECE = 10_000
PROBES, PROBE_BYTES = 16, 16_384
"""What is read of a tar to know it again."""


@dataclass(frozen=True)
class TarPiece:
    """One WebDataset tar."""

    path: Path

    @property
    def name(self) -> str:
        """What it is called in records and messages."""
        return self.path.name

    def identity(self) -> str:
        """Changes when the piece does: its size and some of its bytes, all over the file.

        Raises:
            DataError: it cannot be read.
        """
        try:
            size = self.path.stat().st_size
            digest = hashlib.sha256(str(size).encode())
            with self.path.open("rb") as file:
                for place in range(PROBES):
                    file.seek(max(0, size - PROBE_BYTES) * place // (PROBES - 1))
                    digest.update(file.read(PROBE_BYTES))
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {error.strerror or error}") from error
        return digest.hexdigest()[:16]

    def samples(self, skips: Skips) -> Iterator[RawSample]:
        """Reads the samples in their order; raises as `read_tar`."""
        return read_tar(self.path, skips)


@dataclass(frozen=True)
class FolderPiece:
    """Pictures that follow each other in a folder's order; a key is a path in the folder."""

    root: Path
    records: Sequence[Record]
    start: int

    @property
    def name(self) -> str:
        """What it is called in records and messages."""
        return f"pictures {self.start} to {self.start + len(self.records) - 1}"

    def identity(self) -> str:
        """Changes when the piece does."""
        rows = [
            (str(r.path.relative_to(self.root)), r.captions, r.path.stat().st_size)
            for r in self.records
        ]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]

    def samples(self, skips: Skips) -> Iterator[RawSample]:
        """Lists the samples in their order; the folder's captions were checked before."""
        for path, captions in self.records:
            yield RawSample(path.relative_to(self.root).as_posix(), path, captions)


Piece = TarPiece | FolderPiece | RetrievalPiece


def pieces_of(source: Path) -> list[Piece]:
    """Opens a folder of tars, one tar, embeddings in clip-retrieval's layout, or a folder of
    captioned pictures.

    Raises:
        DataError: it is none of them, or its captions cannot be read.
    """
    if source.is_file() and source.suffix == ".tar":
        return [TarPiece(source)]
    if not source.is_dir():
        raise DataError(f"{source} is no folder of tars or of captioned pictures, and no .tar file")
    if (source / "img_emb").is_dir():
        return [*retrieval_pieces(source)]
    tars = sorted(source.glob("*.tar"))
    if tars:
        return [TarPiece(path) for path in tars]
    records = read_folder(source)
    return [
        FolderPiece(source, records[start : start + PICTURES_PER_PIECE], start)
        for start in range(0, len(records), PICTURES_PER_PIECE)
    ]
