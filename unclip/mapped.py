"""Tensors where they lie in a file: their type, shape and place are known before a byte is read.

A file is mapped, privately: the operating system reads the pages that are touched, and what is
written into a tensor stays in memory.
"""

import math
import mmap
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeGuard, runtime_checkable
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from unclip.errors import CheckpointError

MAX_TENSORS = 100_000
MAX_ELEMENTS = 2**48
"""More than any memory holds, and small enough that nothing computed from it overflows an int64."""
MAX_AXES = 64
"""PyTorch's own limit."""


_maps: "WeakValueDictionary[int, mmap.mmap]" = WeakValueDictionary()
"""Every file that is mapped, by the address of its first byte."""


class MappedFile:
    """An ordinary file in memory.

    Raises:
        CheckpointError: it is missing, empty, not readable or no ordinary file (a pipe, say).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Asked before it is opened: opening a pipe waits for somebody to write into it.
            about = path.stat()
            if not stat.S_ISREG(about.st_mode):
                raise CheckpointError(f"cannot read {path}: it is no ordinary file")
            if about.st_size == 0:
                raise CheckpointError(f"cannot read {path}: it is empty")
            with path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
                _maps[_address(self._map)] = self._map
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error.strerror}") from error

    def __len__(self) -> int:
        return len(self._map)

    def read(self, start: int, stop: int) -> bytes:
        """Copies the bytes from `start` to `stop`, or to the end of the file if that is nearer."""
        return self._map[start:stop]

    def release(self, start: int, stop: int) -> None:
        """Gives the whole pages between two bytes back to the system, which reads them again when
        they are touched. Whatever was written into them would be lost."""
        _give_back(self._map, start, stop)

    def elements(self, dtype: torch.dtype, start: int, count: int) -> Tensor:
        """`count` > 0 numbers that begin at byte `start`: mapped, or copied where they are not
        aligned to their own size (as in safetensors files of before 2023)."""
        size = count * dtype.itemsize
        numbers = torch.frombuffer(self._map, dtype=torch.uint8, offset=start, count=size)
        if start % dtype.itemsize:
            numbers = numbers.clone()
        return numbers.view(dtype)


@runtime_checkable
class LazyTensor(Protocol):
    """A tensor of known type and shape that is read when asked for.

    `TensorRef` is one; so is a part of one, or one under another name.
    """

    @property
    def dtype(self) -> torch.dtype:
        """Its type in the file."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, once loaded."""
        ...

    def load(self) -> Tensor:
        """Reads it; mapped where it lies in the file as it is wanted."""
        ...

    def release(self) -> None:
        """Lets go of the memory that reading took, once the tensor is of no more use."""
        ...


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A tensor that has not been read. Whoever makes one has checked that it lies in the file."""

    file: MappedFile
    start: int
    """Byte of the file where its first element lies."""
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    """In elements, as PyTorch counts."""

    @property
    def nbytes(self) -> int:
        """Bytes of a contiguous copy."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def span(self) -> int:
        """Elements from the first to the last in memory, both included."""
        if 0 in self.shape:
            return 0
        pairs = zip(self.shape, self.stride, strict=True)
        return 1 + sum((size - 1) * step for size, step in pairs)

    def load(self) -> Tensor:
        """The tensor, mapped: its pages are read when they are touched."""
        if self.span == 0:
            return torch.empty_strided(self.shape, self.stride, dtype=self.dtype)
        elements = self.file.elements(self.dtype, self.start, self.span)
        return elements.as_strided(self.shape, self.stride)

    def release(self) -> None:
        """Lets go of the memory that reading took, once the tensor is of no more use."""
        self.file.release(self.start, self.start + self.span * self.dtype.itemsize)


def load_as(ref: LazyTensor, dtype: torch.dtype | None) -> Tensor:
    """A tensor as `dtype`, or as it is for None: mapped if it is of that type, else a copy.

    No more than the copy is in memory then: pages are given back, so it is for a file into which
    nothing was written yet.
    """
    tensor = ref.load()
    if dtype is None or tensor.dtype == dtype:
        return tensor
    converted = tensor.to(dtype)
    ref.release()
    return converted


def is_mapped(tensor: Tensor) -> bool:
    """Whether a tensor lies in a file that `MappedFile` mapped."""
    return _place(tensor) is not None


def release_pages(tensor: Tensor) -> None:
    """Gives the pages of a mapped tensor back to the system, which reads them again when they are
    touched: whatever was written into them is lost. Does nothing for a tensor in ordinary memory.
    """
    if (place := _place(tensor)) is not None:
        _give_back(*place)


def _give_back(mapped: mmap.mmap, start: int, stop: int) -> None:
    """Whole pages only: what lies before and after begins and ends in the same ones."""
    first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, stop // mmap.PAGESIZE * mmap.PAGESIZE
    if first < last and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        mapped.madvise(mmap.MADV_DONTNEED, first, last - first)


def _place(tensor: Tensor) -> tuple[mmap.mmap, int, int] | None:
    """The map that holds a tensor's elements, and their first byte and the one after the last."""
    if tensor.device.type != "cpu" or tensor.numel() == 0:
        return None
    first = tensor.data_ptr()
    pairs = zip(tensor.shape, tensor.stride(), strict=True)
    span = 1 + sum((size - 1) * step for size, step in pairs)
    for address, mapped in _maps.items():
        if address <= first < address + len(mapped):
            return mapped, first - address, first - address + span * tensor.element_size()
    return None


def _address(mapped: mmap.mmap) -> int:
    return torch.frombuffer(mapped, dtype=torch.uint8, count=1).data_ptr()


def are_counts(numbers: object) -> TypeGuard[Sequence[int]]:
    """Whether something is a list or tuple of sizes, strides or offsets within reason."""
    return (
        isinstance(numbers, list | tuple)
        and len(numbers) <= MAX_AXES
        and all(type(number) is int and 0 <= number <= MAX_ELEMENTS for number in numbers)
    )


def is_shape(sizes: object) -> TypeGuard[Sequence[int]]:
    """Whether something is the shape of a tensor that can be."""
    # An axis of no elements must not hide the others: strides are products of them.
    return are_counts(sizes) and math.prod(max(size, 1) for size in sizes) <= MAX_ELEMENTS


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of a tensor without gaps, last axis fastest."""
    return tuple(
        math.prod(max(size, 1) for size in shape[axis + 1 :]) for axis in range(len(shape))
    )
