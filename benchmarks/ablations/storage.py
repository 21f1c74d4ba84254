"""What a model loses when its weights are stored in fewer bits."""

import copy
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, kw_only=True, slots=True)
class Storage:
    """How prior and decoder are stored."""

    bits: Literal[16, 8] = 16
    """16 is float16, as the bundled model is stored; 8 is int8 with a float32 scale for each output
    channel of a matrix or kernel, and float16 for all that has one dimension."""

    def num_bytes(self, network: nn.Module) -> int:
        """Counts the bytes that a network takes, without names and shapes."""
        total = 0
        for tensor in network.state_dict().values():
            narrow = self.bits == 8 and tensor.ndim >= 2
            total += tensor.numel() + 4 * len(tensor) if narrow else 2 * tensor.numel()
        return total


def stored(network: Network, storage: Storage) -> Network:
    """Returns a network as it comes back from a file that stores it so; float16 is what it is."""
    if storage.bits == 16:
        return network
    rounded = copy.deepcopy(network)
    with torch.no_grad():
        for tensor in rounded.state_dict().values():
            if tensor.ndim >= 2:
                tensor.copy_(through_int8(tensor))
    return rounded


def through_int8(weight: Float[Tensor, "channels ..."]) -> Float[Tensor, "channels ..."]:
    """Rounds each output channel to 255 even steps between plus and minus its largest value."""
    largest = weight.abs().flatten(1).amax(dim=1)
    scale = torch.where(largest > 0, largest / 127, 1).view(-1, *[1] * (weight.ndim - 1))
    return (weight / scale).round() * scale
