"""energon's preparation of a folder of shards, which here survives a tar that is cut off."""

import tarfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

from megatron.energon.epathlib import EPath
from megatron.energon.flavors.webdataset.config import skip_meta_re, split_name_re
from megatron.energon.flavors.webdataset.itar import TarIndexWriter
from megatron.energon.flavors.webdataset.prepare import (
    IndexAggregatable,
    IndexShardInfo,
    WebdatasetPreparator,
)

from unclip.data.shards.index import readable_offsets


def prepare(root: Path, names: list[str], jobs: int) -> None:
    """Indexes the tars of a folder, all of them to train on."""
    Preparation.prepare_dataset(
        EPath(root),
        names,
        split_parts_ratio=[("train", 1.0)],
        shuffle_seed=None,  # the order of the shards is the stream's business
        workers=jobs,
    )


class Preparation(WebdatasetPreparator):
    """Indexes what can be read of a cut-off tar, where energon would give up on the whole set."""

    @staticmethod
    def _preprocess_tar(
        path: str, shard_to_idx: dict[str, int], parent_path: EPath, *args: Any, **options: Any
    ) -> Generator[IndexAggregatable, None, None]:
        for item in WebdatasetPreparator._preprocess_tar(
            path, shard_to_idx, parent_path, *args, **options
        ):
            if isinstance(item, IndexShardInfo) and item.shard_info.count == 0:
                item.shard_info.count = _index_readable(Path(str(parent_path)) / path)
            yield item


def _index_readable(path: Path) -> int:
    """Writes the index of a cut-off tar; returns its number of samples."""
    offsets = list(readable_offsets(path, _key))
    with TarIndexWriter(EPath(path)) as index:
        for offset in offsets:
            index.append(offset)
    return len(offsets) - 1


def _key(member: tarfile.TarInfo) -> str | None:
    """The name of the sample that a member belongs to, by energon's rule."""
    if not member.isreg() or skip_meta_re.match(member.name):
        return None
    found = split_name_re.match(member.name)
    return found.group(1) if found else None
