"""Checkpoint shards: safetensors files of pieces of tensors, read into any other sharding.

The layout is that of `torch.distributed.checkpoint.HuggingFaceStorageWriter` with
`save_distributed=True`: each process writes one file, and the remark `DCP_SHARDING_INFO` in its
header says where each piece begins in its tensor. For reading,
`torch.distributed.checkpoint`'s planner reckons what of which piece belongs where. Nothing is
pickled, and only files that the manifest lists are opened.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorProperties,
    TensorStorageMetadata,
)

from unclip.errors import CheckpointError
from unclip.mapped import TensorRef
from unclip.safetensors_file import open_safetensors, read_remarks
from unclip.safetensors_writer import OF_PYTORCH, write_safetensors
from unclip.training.tensors import Piece

SHARDING = "DCP_SHARDING_INFO"
SUFFIX = ".safetensors"


def shard_name(rank: int) -> str:
    """The file of a process."""
    return f"shard_{rank:05d}{SUFFIX}"


@dataclass(frozen=True, slots=True)
class Held:
    """A tensor in memory, for the writer of files."""

    tensor: Tensor

    @property
    def dtype(self) -> torch.dtype:
        """Its type."""
        return self.tensor.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(self.tensor.shape)

    def load(self) -> Tensor:
        """The tensor itself."""
        return self.tensor

    def release(self) -> None:
        """Nothing was read."""


def write_shard(path: Path, pieces: Iterable[Piece]) -> str:
    """Writes and flushes pieces that lie in CPU memory; returns the file's SHA-256.

    Raises:
        OSError: it cannot be written.
    """
    pieces = list(pieces)
    places = {piece.name: {"saved_offsets": list(piece.offsets)} for piece in pieces}
    remarks = {**OF_PYTORCH, "DCP_VERSION": "1.0", SHARDING: json.dumps(places)}
    return write_safetensors(path, {p.name: Held(p.tensor) for p in pieces}, metadata=remarks)


def write_whole(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors in CPU memory as the only shard of a checkpoint.

    Raises:
        OSError: it cannot be written.
    """
    write_shard(folder / shard_name(0), [Piece(n, (0,) * t.ndim, t) for n, t in tensors.items()])


class ShardReader:
    """The tensors of a checkpoint folder, whoever wrote which part of them."""

    def __init__(self, folder: Path, files: Iterable[str]) -> None:
        """Opens the shards among the files.

        Raises:
            CheckpointError: one is no safetensors, or the pieces of a tensor do not fill it.
        """
        self.folder = folder
        self.refs: dict[MetadataIndex, TensorRef] = {}
        self.tensors: dict[str, TensorStorageMetadata] = {}
        for name in sorted(files):
            if name.endswith(SUFFIX):
                self._open(folder / name)
        for name, about in self.tensors.items():
            size = [max(ends) for ends in zip(*map(_ends, about.chunks), strict=True)]
            about.size = torch.Size(size)
            if sum(chunk.sizes.numel() for chunk in about.chunks) != math.prod(size):
                raise CheckpointError(f"{folder} lacks parts of {name}: it is incomplete")

    def _open(self, path: Path) -> None:
        places = _places(path)
        for name, ref in open_safetensors(path).items():
            offsets = torch.Size(places.get(name, [0] * len(ref.shape)))
            chunk = ChunkStorageMetadata(offsets, torch.Size(ref.shape))
            if len(offsets) != len(ref.shape):
                raise CheckpointError(f"{path} is damaged: {name} has no possible place")
            about = self.tensors.setdefault(
                name, TensorStorageMetadata(TensorProperties(dtype=ref.dtype), chunk.sizes, [])
            )
            about.chunks.append(chunk)
            self.refs[MetadataIndex(name, offsets)] = ref

    def load_into(self, tensors: Mapping[str, Tensor]) -> None:
        """Copies into live tensors of the same names and shapes, sharded as they are.

        Every process reads for itself, and nothing but its own shards.
        """
        planner = DefaultLoadPlanner()
        planner.set_up_planner(
            {name: tensor.detach() for name, tensor in tensors.items()},
            Metadata(state_dict_metadata=dict(self.tensors)),
        )
        for item in planner.finish_plan(planner.create_local_plan()).items:
            ref = self.refs[MetadataIndex(item.storage_index.fqn, item.storage_index.offset)]
            box = zip(item.storage_offsets, item.lengths, strict=True)
            source = ref.load()[tuple(slice(start, start + size) for start, size in box)]
            target = planner.resolve_tensor(item)
            target.copy_(source)
            planner.commit_tensor(item, target)
            ref.release()

    def read_whole(self, prefix: str) -> dict[str, Tensor]:
        """Reads the tensors whose names begin so into memory; by the rest of their names."""
        wanted = {
            name: torch.empty(about.size, dtype=about.properties.dtype)
            for name, about in self.tensors.items()
            if name.startswith(prefix)
        }
        self.load_into(wanted)
        return {name.removeprefix(prefix): tensor for name, tensor in wanted.items()}


def _places(path: Path) -> Mapping[str, list[int]]:
    try:
        found = json.loads(read_remarks(path).get(SHARDING, "{}"))
        return {name: [int(at) for at in about["saved_offsets"]] for name, about in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: its {SHARDING} cannot be used") from error


def _ends(chunk: ChunkStorageMetadata) -> list[int]:
    return [at + size for at, size in zip(chunk.offsets, chunk.sizes, strict=True)]
