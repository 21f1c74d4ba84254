"""Parts of tensors in a file, under other names and shapes, none of them read before its `load()`.

Kakao keeps queries, keys and values in one matrix, head by head; our networks have one matrix each.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unclip.mapped import TensorRef


@dataclass(frozen=True, slots=True)
class Reshaped:
    """A tensor whose elements are read in order into another shape, without gaps."""

    ref: TensorRef
    shape: tuple[int, ...]

    @property
    def dtype(self) -> torch.dtype:
        """Its type in the file."""
        return self.ref.dtype

    def load(self) -> Tensor:
        """Reads it; where the shape asks for a copy, the pages of the file are given back."""
        stored = self.ref.load()
        tensor = stored.reshape(self.shape).contiguous()
        if tensor.data_ptr() != stored.data_ptr():
            self.ref.release()
        return tensor

    def release(self) -> None:
        """Lets go of the pages that reading has touched."""
        self.ref.release()


def transposed(ref: TensorRef) -> Reshaped:
    """The transposed matrix. (As a view of its file it would be multiplied in another order, and
    round otherwise.)"""
    shape = ref.shape[::-1]
    return Reshaped(replace(ref, shape=shape, stride=ref.stride[::-1]), shape)


def without_kernel(ref: TensorRef) -> TensorRef:
    """The matrix that a convolution of kernel 1 is: the last axis, of one element, is left out."""
    return replace(ref, shape=ref.shape[:-1], stride=ref.stride[:-1])


def third_of_rows(ref: TensorRef, third: int) -> TensorRef:
    """The first, second or last third of the rows."""
    rows = ref.shape[0] // 3
    start = ref.start + third * rows * ref.stride[0] * ref.dtype.itemsize
    return replace(ref, start=start, shape=(rows, *ref.shape[1:]))


def per_head(ref: TensorRef, head_dim: int, count: int, index: int) -> Reshaped:
    """One of `count` matrices whose rows stand head by head: all of a head's, then the next head's.

    Args:
        index: which of them, from 0.
    """
    heads, row = ref.shape[0] // (count * head_dim), ref.stride[0]
    rows = replace(
        ref,
        start=ref.start + index * head_dim * row * ref.dtype.itemsize,
        shape=(heads, head_dim, *ref.shape[1:]),
        stride=(count * head_dim * row, row, *ref.stride[1:]),
    )
    return Reshaped(rows, (heads * head_dim, *ref.shape[1:]))
