"""A folder of CLIP embeddings, in clip-retrieval's layout with a manifest, read row by row.

    img_emb/img_emb_0.npy        (count, dim), a row a picture, in the order of its shard
    text_emb/text_emb_0.npy      (count, dim), of each picture's first caption
    metadata/metadata_0.parquet  image_path (the sample's key), caption, captions
    captions/captions_0.npy      all captions of the part as bytes, to be mapped into memory
    captions/ends_0.npy          where each row's captions end in them
    embeddings.json              the manifest: which CLIP, how, how many, and every file's SHA-256

Unlike clip-retrieval's the embeddings are not normalised: the decoder is trained on what CLIP's
tower gives, so a prior must give that.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from unclip.clip.config import ImageConfig
from unclip.errors import DataError

MANIFEST = "embeddings.json"
FORMAT = 1
DTYPES = ("float16", "float32")
OPEN_PARTS = 64
"""Parts that a process keeps mapped at a time; each holds three open files."""
BETWEEN_CAPTIONS = b"\0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Making:
    """How embeddings were made; the same for all parts of a folder."""

    clip: str
    """Fingerprint of the CLIP."""
    dim: int
    dtype: str
    """float16 or float32, as they are stored."""
    preprocessing: str
    """What was done to a picture before CLIP's own normalisation."""


def preprocessing(config: ImageConfig) -> str:
    """Says how pictures are prepared here for a CLIP."""
    return (
        f"shorter side to {config.image_size} px, bicubic with antialiasing, centre crop; JPEGs "
        "decoded near that size"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one shard gave: the files of one number."""

    number: int
    shard: str
    """The shard's name."""
    identity: str
    """Changes when the shard does."""
    count: int
    skipped: dict[str, int]
    """Samples left out, by reason."""
    files: dict[str, dict[str, Any]]
    """`bytes` and `sha256` of each, by its path in the folder."""


def part_files(number: int) -> dict[str, str]:
    """Paths in the folder of a part's files."""
    return {
        "img_emb": f"img_emb/img_emb_{number}.npy",
        "text_emb": f"text_emb/text_emb_{number}.npy",
        "metadata": f"metadata/metadata_{number}.parquet",
        "captions": f"captions/captions_{number}.npy",
        "ends": f"captions/ends_{number}.npy",
    }


def manifest_of(making: Making, parts: list[Part]) -> dict[str, Any]:
    """What the manifest says; `id` names all of it in 16 hexadecimal digits."""
    skipped: dict[str, int] = {}
    for part in parts:
        for reason, count in part.skipped.items():
            skipped[reason] = skipped.get(reason, 0) + count
    about = {"format": FORMAT, "making": asdict(making), "parts": [asdict(part) for part in parts]}
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
    totals = {"id": digest, "count": sum(part.count for part in parts), "skipped": skipped}
    return totals | about


class Row(NamedTuple):
    """One picture."""

    image_embed: np.ndarray
    captions: tuple[str, ...]


class _Maps(NamedTuple):
    """A part's files, mapped."""

    embeds: np.ndarray
    captions: np.ndarray
    ends: np.ndarray


class EmbeddingFolder:
    """Embeddings and captions by index, however many: only what is asked for is read.

    Raises:
        DataError: there is no manifest, or a part's file is missing or of another size.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.id, self.making, self.parts = _read_manifest(self.root)
        for part in self.parts:
            _check_sizes(self.root, part)
        self.ends = np.cumsum([part.count for part in self.parts])
        if not len(self):
            raise DataError(f"{self.root} has no embeddings: embed other shards")
        self._open = lru_cache(OPEN_PARTS)(self._map)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def __getstate__(self) -> dict[str, Any]:
        # A process that loads data opens the files itself.
        return {"root": self.root}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        EmbeddingFolder.__init__(self, state["root"])

    def __getitem__(self, index: int) -> Row:
        """Reads one row.

        Raises:
            DataError: a file of its part is not what the manifest says.
        """
        place = int(np.searchsorted(self.ends, index, side="right"))
        maps, row = self._open(place), index - int(self.ends[place]) + self.parts[place].count
        begin = int(maps.ends[row - 1]) if row else 0
        text = maps.captions[begin : int(maps.ends[row])].tobytes()
        captions = tuple(one.decode() for one in text.split(BETWEEN_CAPTIONS))
        return Row(maps.embeds[row], captions)

    def embeds(self, place: int) -> np.ndarray:
        """All image embeddings of a part, mapped: (count, dim)."""
        return self._open(place).embeds

    def _map(self, place: int) -> _Maps:
        part, files = self.parts[place], part_files(self.parts[place].number)
        try:
            found = _Maps(
                *(
                    np.load(self.root / files[name], mmap_mode="r", allow_pickle=False)
                    for name in ("img_emb", "captions", "ends")
                )
            )
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"cannot read part {part.number} of {self.root}: {error}") from error
        expected = (part.count, self.making.dim)
        if found.embeds.shape != expected or found.embeds.dtype != self.making.dtype:
            raise DataError(
                f"{self.root / files['img_emb']} holds {found.embeds.shape} {found.embeds.dtype}, "
                f"expected {expected} {self.making.dtype}: embed its shard again"
            )
        return found


class EmbeddedPictures:
    """Embeddings with one of their captions, by (index, position in the stream).

    The caption is a function of the seed and the position.
    """

    def __init__(self, folder: EmbeddingFolder, seed: int) -> None:
        self.folder, self.seed = folder, seed

    def __len__(self) -> int:
        return len(self.folder)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """Returns image_embed (dim,) in float32, caption, index and skipped."""
        index, position = key
        row = self.folder[index]
        rng = np.random.default_rng([self.seed, position])
        caption = row.captions[int(rng.integers(len(row.captions)))]
        embed = torch.from_numpy(np.array(row.image_embed, np.float32))
        return {"image_embed": embed, "caption": caption, "index": index, "skipped": 0}


def _read_manifest(root: Path) -> tuple[str, Making, list[Part]]:
    path = root / MANIFEST
    if not path.is_file():
        unfinished = (root / "parts").is_dir()
        raise DataError(
            f"{root} has no {MANIFEST}: "
            + ("its embedding is unfinished, go on with " if unfinished else "make it with ")
            + "unclip data embed SHARDS DST --clip MODEL"
        )
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        making = Making(**about["making"])
        parts = [Part(**part) for part in about["parts"]]
        found = str(about["id"])
        intact = manifest_of(making, parts)["id"] == found
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no manifest of embeddings: {error!r}") from error
    if not intact:
        raise DataError(f"{path} was changed: its id is not that of its content; embed again")
    return found, making, parts


def _check_sizes(root: Path, part: Part) -> None:
    for name, about in part.files.items():
        path = root / name
        size = path.stat().st_size if path.is_file() else None
        if size != about["bytes"]:
            raise DataError(
                f"{path} has {'no file' if size is None else f'{size} bytes'}, its manifest says "
                f"{about['bytes']}: run unclip data embed again, which renews what is damaged"
            )
