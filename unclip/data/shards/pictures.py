"""The captioned pictures in shards, by their place in the index: what the stream and the sheets
read."""

import hashlib
import io
import json
import os
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from unclip.data.samples import Prepare, Unusable, make_sample, stand_in
from unclip.data.shards.index import META, READABLE, energon, read_counts
from unclip.data.tars import captions_in
from unclip.errors import DataError

PICTURES = ("jpg", "jpeg", "png", "webp")
PARTS = (*PICTURES, "txt", "json")
"""What is read of a sample; nothing else in a shard is ever opened."""
OPEN_SHARDS = 32
"""Files that a process holds open."""


class ShardPictures:
    """Pictures of shards with one of their captions, by (index, position in the stream).

    Captions are the list `captions` of a sample's `.json`, or else its `.txt` as one caption, or
    else `caption` or `text` of the `.json`. A record that cannot be used is skipped: the next one
    stands in, `skipped` counts them and `faults` says which shard and why.
    """

    def __init__(self, root: str | Path, prepare: Prepare, seed: int = 0) -> None:
        """Opens the index.

        Raises:
            DataError: there is none, or it does not fit the shards.
            BackendError: energon is not installed.
        """
        self.root, self.prepare, self.seed = Path(root), prepare, seed
        self.shards = _to_train_on(self.root)
        self.starts = [0, *accumulate(shard.count for shard in self.shards)]
        self._reader: tuple[int, Any] | None = None

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """Returns image (3, height, width) in [-1, 1], caption, index, skipped and faults."""
        return stand_in(self.load, key, len(self))

    def load(self, index: int, position: int) -> dict[str, Any]:
        """Returns a sample's image, caption and index.

        Raises:
            Unusable: the sample cannot be read, or has no picture or caption that can be used.
        """
        rng = np.random.default_rng([self.seed, position])
        shard = self.shards[bisect_right(self.starts, index) - 1].name
        try:
            parts = self.parts(index)
            captions = captions_in(parts)
            picture = next((parts[name] for name in PICTURES if name in parts), None)
            if picture is None:
                raise Unusable("no picture")
            sample = make_sample(io.BytesIO(picture), captions, self.prepare, rng)
        except Unusable as fault:
            raise fault.at(shard, f"sample {index} in {self.root / shard}") from fault
        return {**sample, "index": index}

    def fingerprint(self) -> str:
        """Tells these shards from others: a hash of their names and counts."""
        said = json.dumps([[shard.name, shard.count] for shard in self.shards])
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    def parts(self, index: int) -> dict[str, bytes]:
        """Reads a sample's files, by their lower-case suffix.

        Raises:
            Unusable: the shard is cut off there, or cannot be read.
        """
        # Files that a fork shares with its parent have one place for both: each opens its own.
        if self._reader is None or self._reader[0] != os.getpid():
            self._reader = os.getpid(), self._open()
        try:
            found = self._reader[1][index]
        except READABLE as error:
            raise Unusable("cut off or unreadable") from error
        return (
            {}
            if found is None
            else {name.lower(): part for name, part in found.items() if not name.startswith("__")}
        )

    def _open(self) -> Any:
        from megatron.energon.flavors.webdataset.itar_reader import ShardInfosITarReader

        return ShardInfosITarReader(
            self.shards[0].path.parent,
            self.shards,
            part_filter=_is_wanted,
            itar_cache_size=OPEN_SHARDS,
        )


def _to_train_on(root: Path) -> list[Any]:
    """The shards of the index's part `train`: energon may have set others aside."""
    read_counts(root)
    energon()
    from megatron.energon.epathlib import EPath
    from megatron.energon.flavors.webdataset.metadata import WebdatasetMeta

    try:
        meta = WebdatasetMeta.from_config(path=EPath(str(root.absolute())), split_part="train")
    except (OSError, ValueError, KeyError, AssertionError) as error:
        raise DataError(
            f"{root / META} has no part train ({error}): run: unclip data index {root}"
        ) from error
    if meta.sample_excludes:
        raise DataError(
            f"{root / META}/split.yaml excludes single samples, expected whole shards: write the "
            f"shards without them, or run: unclip data index {root}"
        )
    return meta.shards


def _is_wanted(part: str) -> bool:
    return part.lower() in PARTS
