"""A checkpoint in the making: copied to CPU memory at once, written while training goes on.

Every process writes and flushes its own shard into `step_N.tmp-TOKEN`; when all have, the first one
adds the manifest and renames the folder. No thread talks to another process: that all are done is
learnt from the sum that the processes form at every step anyway.
"""

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unclip.checkpoint import flush, flush_folder, take_place, write_manifest
from unclip.errors import CheckpointError
from unclip.training.shards import shard_name, write_shard
from unclip.training.tensors import Piece

STATE = "state.json"
HASHES = ".sha256"
"""Of the files beside a shard's, until they are in the manifest."""
SLACK_BYTES = 2**20
"""For headers, `state.json` and the manifest."""


class Job:
    """Work in a thread of its own, whose error is kept."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def is_done(self) -> bool:
        """Says whether it has ended, well or not."""
        return not self._thread.is_alive()

    def wait(self) -> None:
        """Waits for the end."""
        self._thread.join()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # told by the training's own thread
            self.error = error


class Snapshot:
    """Copies of pieces in CPU memory, which is used again for the next ones."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def take(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Copies; when it returns, the pieces may change."""
        copies = []
        for piece in pieces:
            buffer = self._buffers.get(piece.name)
            if buffer is None:
                shape, dtype, pinned = piece.tensor.shape, piece.tensor.dtype, piece.tensor.is_cuda
                buffer = torch.empty(shape, dtype=dtype, device="cpu", pin_memory=pinned)
                self._buffers[piece.name] = buffer
            buffer.copy_(piece.tensor, non_blocking=True)
            copies.append(Piece(piece.name, piece.offsets, buffer))
        if any(piece.tensor.is_cuda for piece in pieces):
            torch.cuda.current_stream().synchronize()
        return copies


def data_name(rank: int) -> str:
    """The file that says where a process's data stand."""
    return f"data_{rank:05d}.json"


def write_part(
    place: Path, rank: int, pieces: Sequence[Piece], data: bytes | None, total_bytes: int
) -> None:
    """Writes one process's shard of a checkpoint, where its data stand, and the hashes of both.

    Args:
        total_bytes: of the shards of all processes.

    Raises:
        OSError: it cannot be written.
        CheckpointError: there is no room for the whole checkpoint.
    """
    if rank == 0:
        check_room(place.parent, total_bytes)
    place.mkdir(parents=True, exist_ok=True)
    shard = place / shard_name(rank)
    hashes = {shard.name: write_shard(shard, pieces)}
    if data is not None:
        (place / data_name(rank)).write_bytes(data)
        flush(place / data_name(rank))
        hashes[data_name(rank)] = hashlib.sha256(data).hexdigest()
    beside = shard.with_suffix(HASHES)
    beside.write_text(json.dumps(hashes), encoding="utf-8")
    flush(beside)
    flush(place)


def commit(place: Path, folder: Path, world_size: int, record: Mapping[str, Any]) -> None:
    """Makes a checkpoint of the shards of all processes: manifest, flush, rename.

    Raises:
        OSError: it cannot be written.
        CheckpointError: a process's shard is not there.
    """
    hashes: dict[str, str] = {}
    for rank in range(world_size):
        beside = (place / shard_name(rank)).with_suffix(HASHES)
        if not beside.is_file():
            raise CheckpointError(
                f"cannot write {folder}: the shard of process {rank} is not there; is the run's "
                "folder one and the same on all machines?"
            )
        hashes |= json.loads(beside.read_text(encoding="utf-8"))
        beside.unlink()
    (place / STATE).write_text(json.dumps(record, indent=1), encoding="utf-8")
    write_manifest(place, hashes)
    flush_folder(place)
    take_place(place, folder)


def discard(place: Path) -> None:
    """Removes what was written of a checkpoint that cannot be."""
    shutil.rmtree(place, ignore_errors=True)


def check_room(root: Path, total_bytes: int) -> None:
    """Compares what a checkpoint takes with what its disk has left.

    Raises:
        CheckpointError: it is too little.
    """
    there = root
    while not there.exists():
        there = there.parent
    about = os.statvfs(there)
    free, needed = about.f_bavail * about.f_frsize, total_bytes + SLACK_BYTES
    if free < needed:
        raise CheckpointError(
            f"cannot write a checkpoint of {needed:,} bytes to {root}, whose disk has {free:,} "
            "left: make room, or choose another --out"
        )
