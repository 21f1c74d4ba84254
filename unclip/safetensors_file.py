"""The header of a safetensors file, read with limits.

Format: eight bytes with the header's length (little-endian), the header in JSON, then the tensors
without gaps or overlaps; github.com/huggingface/safetensors describes it. The library itself
accepts a header of 100 MB, in which 700,000 names need half a gigabyte, and a name that stands
twice.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch

from unclip.errors import CheckpointError, shown
from unclip.mapped import MAX_TENSORS, MappedFile, TensorRef, are_counts, contiguous, is_shape

MAX_HEADER_BYTES = 25_000_000
DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
"""Torch's dtypes by safetensors' names. Its 8-bit and complex floats are in no file of ours."""


def open_safetensors(path: Path) -> dict[str, TensorRef]:
    """Reads the names, types, shapes and places of a file's tensors, in the order of the header.

    Raises:
        CheckpointError: it is missing, truncated, not safetensors (a pickle, say), its header is
            larger than 25 MB, names more than 100,000 tensors or one twice, or what it says of a
            tensor cannot be.
    """
    file, length, header = _read_header(path)
    header.pop("__metadata__", None)
    if len(header) > MAX_TENSORS:
        raise CheckpointError(f"{path} names {len(header)} tensors, at most {MAX_TENSORS}")
    refs = {name: _tensor_ref(file, 8 + length, name, about) for name, about in header.items()}
    _check_places(refs, 8 + length, file)
    return refs


def read_remarks(path: Path) -> dict[str, str]:
    """Reads the remarks in a file's header, which are texts by name.

    Raises:
        CheckpointError: the file is missing, truncated, or not safetensors.
    """
    remarks = _read_header(path)[2].get("__metadata__", {})
    if not isinstance(remarks, dict) or not all(isinstance(v, str) for v in remarks.values()):
        raise CheckpointError(f"{path} is damaged: the remarks in its header are no texts")
    return remarks


def _read_header(path: Path) -> tuple[MappedFile, int, dict[str, Any]]:
    """Maps a file; returns it, its header's length in bytes, and the header."""
    file = MappedFile(path)
    length = int.from_bytes(file.read(0, 8), "little")
    if len(file) < 8 or length > min(len(file) - 8, MAX_HEADER_BYTES):
        raise CheckpointError(
            f"{path} is not a whole safetensors file (only safetensors is read): its header would "
            f"be {length} bytes of {len(file)}, at most {MAX_HEADER_BYTES}"
        )
    return file, length, _parse(file.read(8, 8 + length), path)


def _parse(header: bytes, path: Path) -> dict[str, Any]:
    # Parsing is what costs, and it costs by the value. A tensor of four axes needs 14 such signs.
    values = sum(header.count(sign) for sign in (b"{", b"[", b":", b","))
    if values > 16 * MAX_TENSORS:
        raise CheckpointError(
            f"{path} has a header of {values} values, more than {MAX_TENSORS} tensors need, the "
            "most there may be"
        )
    try:
        parsed = json.loads(header, object_pairs_hook=no_doubles)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not safetensors, and only safetensors is read") from error
    if not isinstance(parsed, dict):
        raise CheckpointError(f"{path} is not safetensors, and only safetensors is read")
    return parsed


def no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads`: refuses an object that names something twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _tensor_ref(file: MappedFile, data_start: int, name: str, about: object) -> TensorRef:
    """Checks what the header says of one tensor, its place in the file apart."""
    where = f"{file.path} is damaged: {shown(name)}"
    if not isinstance(about, dict) or set(about) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{where} is not described by dtype, shape and data_offsets")
    dtype = DTYPES.get(about["dtype"]) if isinstance(about["dtype"], str) else None
    if dtype is None:
        known = ", ".join(DTYPES)
        raise CheckpointError(f"{where} is {shown(about['dtype'])}, expected one of {known}")
    shape, offsets = about["shape"], about["data_offsets"]
    if not is_shape(shape):
        raise CheckpointError(f"{where} has no possible shape")
    if not are_counts(offsets) or len(offsets) != 2:
        raise CheckpointError(f"{where} has no possible place in a file")
    begin, end = offsets
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise CheckpointError(f"{where} has {end - begin} bytes, not those of its shape and dtype")
    return TensorRef(file, data_start + begin, dtype, tuple(shape), contiguous(shape))


def _check_places(refs: dict[str, TensorRef], data_start: int, file: MappedFile) -> None:
    """Refuses gaps and overlaps: every byte belongs to one tensor."""
    at = data_start
    for name, ref in sorted(refs.items(), key=lambda item: (item[1].start, item[1].nbytes)):
        if ref.start != at:
            raise CheckpointError(
                f"{file.path} is damaged: {shown(name)} begins at byte {ref.start}, expected {at}"
            )
        at += ref.nbytes
    if at != len(file):
        raise CheckpointError(
            f"{file.path} is damaged or incomplete: it has {len(file)} bytes, its header says {at}"
        )
