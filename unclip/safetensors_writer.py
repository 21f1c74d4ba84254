"""safetensors files written tensor by tensor: no more than one of them is in memory at a time.

The header comes first and says where each one will stand, so types and shapes are known before
anything is read. Large models are split over several files with an index, as the Hugging Face
libraries name them.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from unclip.errors import CheckpointError, shown
from unclip.mapped import LazyTensor
from unclip.safetensors_file import DTYPES

CHUNK_BYTES = 16_000_000
"""Of a tensor, so much is converted and written at a time."""
NAMES = {dtype: name for name, dtype in DTYPES.items()}
OF_PYTORCH = {"format": "pt"}
"""transformers reads no file that does not say whose tensors it holds."""

Progress = Callable[[str], None]
"""Is told the name of each tensor when it is written."""


def stored_dtype(ref: LazyTensor, dtype: torch.dtype | None) -> torch.dtype:
    """The type that a tensor is written in: `dtype` if it is a floating-point one, else its own."""
    return ref.dtype if dtype is None or not ref.dtype.is_floating_point else dtype


def stored_bytes(ref: LazyTensor, dtype: torch.dtype | None) -> int:
    """Bytes that a tensor takes in the file."""
    return math.prod(ref.shape) * stored_dtype(ref, dtype).itemsize


def write_safetensors(
    path: Path,
    tensors: Mapping[str, LazyTensor],
    *,
    dtype: torch.dtype | None = None,
    metadata: Mapping[str, str] | None = None,
    progress: Progress = lambda name: None,
) -> str:
    """Writes and flushes one file; returns its SHA-256 in hexadecimal.

    Args:
        dtype: floating-point tensors are stored in it; None keeps each one's own.
        metadata: remarks in the header.

    Raises:
        CheckpointError: a number is too large for `dtype`.
        OSError: the file cannot be written.
    """
    # The order of safetensors' own library: larger numbers first, so that each tensor begins at a
    # multiple of its own.
    names = sorted(tensors, key=lambda name: (-stored_dtype(tensors[name], dtype).itemsize, name))
    digest = hashlib.sha256()
    with path.open("wb") as file:

        def write(content: bytes | memoryview) -> None:
            digest.update(content)
            file.write(content)

        write(_header({name: tensors[name] for name in names}, dtype, metadata))
        for name in names:
            ref = tensors[name]
            _write_tensor(write, name, ref.load(), stored_dtype(ref, dtype))
            ref.release()
            progress(name)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _header(
    tensors: Mapping[str, LazyTensor],
    dtype: torch.dtype | None,
    metadata: Mapping[str, str] | None,
) -> bytes:
    about: dict[str, object] = {} if metadata is None else {"__metadata__": dict(metadata)}
    at = 0
    for name, ref in tensors.items():
        end = at + stored_bytes(ref, dtype)
        about[name] = {
            "dtype": NAMES[stored_dtype(ref, dtype)],
            "shape": list(ref.shape),
            "data_offsets": [at, end],
        }
        at = end
    text = json.dumps(about, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write_tensor(
    write: Callable[[memoryview], None], name: str, tensor: Tensor, dtype: torch.dtype
) -> None:
    """Converts and writes some rows at a time."""
    rows = tensor.reshape(1) if tensor.ndim == 0 else tensor
    if rows.numel() == 0:
        return
    step = max(1, CHUNK_BYTES // (rows[0].numel() * max(dtype.itemsize, tensor.dtype.itemsize)))
    for start in range(0, len(rows), step):
        chunk = rows[start : start + step].to(dtype).contiguous()
        if dtype == torch.float16 != tensor.dtype and not chunk.isfinite().all():
            raise CheckpointError(
                f"{shown(name)} holds numbers that are larger than float16 can hold (65504), or "
                "are none: choose bfloat16 or float32"
            )
        write(chunk.view(torch.uint8).numpy().data.cast("B"))


def write_sharded(
    folder: Path,
    stem: str,
    tensors: Mapping[str, LazyTensor],
    *,
    dtype: torch.dtype | None = None,
    shard_bytes: int | None = None,
    progress: Progress = lambda name: None,
) -> None:
    """Writes `STEM.safetensors`, or where that exceeds `shard_bytes` files
    `STEM-00001-of-0000N.safetensors` and `STEM.safetensors.index.json`.

    Raises:
        CheckpointError: a number is too large for `dtype`.
        OSError: a file cannot be written.
    """
    shards = split(tensors, dtype, shard_bytes)

    def write(name: str, shard: Mapping[str, LazyTensor]) -> None:
        path = folder / name
        write_safetensors(path, shard, dtype=dtype, metadata=OF_PYTORCH, progress=progress)

    if len(shards) == 1:
        write(f"{stem}.safetensors", tensors)
        return
    places: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors"
        write(file, shard)
        places |= dict.fromkeys(shard, file)
    total = sum(stored_bytes(ref, dtype) for ref in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    text = json.dumps(index, indent=2, sort_keys=True) + "\n"
    (folder / f"{stem}.safetensors.index.json").write_text(text, encoding="utf-8")


def split(
    tensors: Mapping[str, LazyTensor], dtype: torch.dtype | None, shard_bytes: int | None
) -> list[dict[str, LazyTensor]]:
    """Puts tensors in their order into parts of at most `shard_bytes`; a larger one stands
    alone."""
    shards: list[dict[str, LazyTensor]] = [{}]
    room = math.inf if shard_bytes is None else shard_bytes
    left = room
    for name, ref in tensors.items():
        size = stored_bytes(ref, dtype)
        if shards[-1] and size > left:
            shards.append({})
            left = room
        shards[-1][name] = ref
        left -= size
    return shards
