"""Tensors that lie in parts on several processes (torch's `DTensor`), and whole ones, alike."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor, in the same memory; of a whole one all of it."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def whole(
    tensors: Mapping[str, Tensor], *, keep: bool, device: torch.device | None = None
) -> dict[str, Tensor]:
    """Puts tensors together from their parts, one after another; all processes call it.

    Tensors that are whole and on the device already stay what they are, live.

    Args:
        keep: this process wants them; where not, nothing is returned.
        device: where they go; None is the CPU for those in parts, and for others where they are.
    """
    found = {}
    for name, tensor in tensors.items():
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if keep:
            elsewhere = torch.device("cpu") if isinstance(tensor, DTensor) else full.device
            found[name] = full.to(device or elsewhere)
    return found
