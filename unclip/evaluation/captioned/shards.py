"""Captioned pictures inside tar files, as img2dataset and WebDataset lay them out.

Members that share a name up to the first dot belong together: a picture, and its caption in a
`.txt` or a `.json`. Nothing is unpacked: a picture is read from its place in the tar.
"""

import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from unclip.data.images import SUFFIXES
from unclip.data.samples import Unusable
from unclip.data.tars import captions_in
from unclip.errors import DataError

MAX_TEXT_BYTES = 2**20
"""A longer .txt or .json is no caption."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A picture in a tar, and what it shows."""

    path: Path
    """The tar."""
    captions: tuple[str, ...]
    name: str
    """The member's."""
    offset: int
    size: int
    """Bytes."""


@dataclass
class _Sample:
    picture: tarfile.TarInfo | None = None
    texts: dict[str, bytes] = field(default_factory=dict)

    def captions(self) -> tuple[str, ...]:
        """What the texts say; nothing where they cannot be read."""
        try:
            return captions_in(self.texts)
        except Unusable:
            return ()


def find_shards(root: Path) -> list[Path]:
    """Returns a folder's tars, in order."""
    return sorted(root.glob("*.tar"))


def read_shards(shards: list[Path]) -> list[Packed]:
    """Lists the captioned pictures of tars, in a fixed order.

    Raises:
        DataError: a tar is damaged or compressed, or none has a captioned picture.
    """
    found = [packed for shard in shards for packed in _read_shard(shard)]
    if not found:
        raise DataError(
            f"{shards[0].parent} has {len(shards)} tars and no captioned picture in them: each "
            "needs a .txt or .json of its own name beside it"
        )
    return found


def _read_shard(shard: Path) -> list[Packed]:
    samples: dict[str, _Sample] = {}
    try:
        # Uncompressed alone: only there can a picture be read from its place.
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                folder, _, file = member.name.rpartition("/")
                stem, _, suffix = file.partition(".")
                sample = samples.setdefault(f"{folder}/{stem}", _Sample())
                if not member.isfile():
                    continue
                if f".{suffix.lower()}" in SUFFIXES:
                    sample.picture = member
                elif suffix in ("txt", "json") and member.size <= MAX_TEXT_BYTES:
                    file_object = tar.extractfile(member)
                    assert file_object is not None, "it is a file"
                    sample.texts[suffix] = file_object.read()
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"cannot read {shard} ({error}): give uncompressed, whole tars") from error
    return [
        Packed(shard, captions, each.picture.name, each.picture.offset_data, each.picture.size)
        for each in samples.values()
        if each.picture and (captions := each.captions())
    ]
