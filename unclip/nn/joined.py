"""Linear layers of one input whose weights lie side by side in memory, and run as one product.

Nothing is kept and nothing is copied: that they are neighbours is read off their memory. Whatever
moves them (`.to()`, loading) may part them, and then they run one by one.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear


def join(layers: Sequence[nn.Linear]) -> None:
    """Lays the weights, and the biases, of layers side by side; those that are so stay in place."""
    for parameters in ([layer.weight for layer in layers], [layer.bias for layer in layers]):
        if _whole(parameters) is not None:
            continue
        together = torch.cat([parameter.data for parameter in parameters])
        parts = together.split([len(parameter) for parameter in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.data = part


def one_product(
    layers: Sequence[nn.Linear], x: Float[Tensor, "*batch inputs"]
) -> Float[Tensor, "*batch outputs"] | None:
    """Runs layers whose weights are neighbours; their answers stand side by side.

    None where they are no neighbours, or where gradients are wanted: run them one by one.
    """
    if torch.is_grad_enabled():
        return None
    weight = _whole([layer.weight for layer in layers])
    bias = _whole([layer.bias for layer in layers])
    return None if weight is None or bias is None else linear(x, weight, bias)


def _whole(parts: Sequence[Tensor]) -> Tensor | None:
    """The tensor that neighbours in memory are parts of; None where they are none."""
    first = parts[0]
    start, storage = first.storage_offset(), first.untyped_storage().data_ptr()
    for part in parts:
        here = part.untyped_storage().data_ptr() == storage and part.storage_offset() == start
        if not here or not part.is_contiguous() or part.shape[1:] != first.shape[1:]:
            return None
        start += part.numel()
    shape = (sum(map(len, parts)), *first.shape[1:])
    return first.as_strided(shape, first.stride())
