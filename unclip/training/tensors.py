"""The tensors of a run by name, and which pieces of them a process writes.

Names are `model.NAME`, `ema.NAME` and `optimizer.KIND.NAME`. A tensor that every process holds
whole is written by one of them; of one that is sharded over processes (a DTensor) each writes its
own part.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from unclip.training.optim import optimizer_tensors
from unclip.training.progress import TrainState

OPTIMIZER = "optimizer."


@dataclass(frozen=True, slots=True)
class Piece:
    """A box of a tensor, as one process holds it."""

    name: str
    offsets: tuple[int, ...]
    """Where it begins in the whole tensor."""
    tensor: Tensor


def train_tensors(state: TrainState) -> dict[str, Tensor]:
    """Every live tensor of a run: to write, or to be read into."""
    materialise(state.optimizer)
    kinds = {
        "model": state.model.state_dict(),
        "ema": state.ema.tensors(),
        "optimizer": optimizer_tensors(state.model, state.optimizer),
    }
    return {f"{kind}.{name}": t for kind, named in kinds.items() for name, t in named.items()}


def materialise(optimizer: torch.optim.Optimizer) -> None:
    """Gives a fresh AdamW the state that its first step would begin from."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if not optimizer.state[parameter]:
                optimizer.state[parameter] = {
                    "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                    # As the parameter lies in memory: the fused kernel walks them side by side.
                    "exp_avg": torch.zeros_like(parameter.detach()),
                    "exp_avg_sq": torch.zeros_like(parameter.detach()),
                }


def own_pieces(tensors: Mapping[str, Tensor], rank: int, world_size: int) -> list[Piece]:
    """What one process writes: together the processes write everything once.

    Whole tensors go, largest first, to the process that has least so far, which all processes
    reckon alike without a word.
    """
    pieces = []
    loads = [(0, each) for each in range(world_size)]
    for name in sorted(tensors, key=lambda name: (-tensors[name].nbytes, name)):
        tensor = tensors[name].detach()
        if isinstance(tensor, DTensor):
            pieces += _own_shard(name, tensor)
            continue
        load, owner = loads[0]
        heapq.heapreplace(loads, (load + tensor.nbytes, owner))
        if owner == rank:
            pieces.append(Piece(name, (0,) * tensor.ndim, tensor))
    return pieces


def _own_shard(name: str, tensor: DTensor) -> list[Piece]:
    coordinate = tensor.device_mesh.get_coordinate()
    if coordinate is None:
        return []
    # Of several copies of a shard, the first is written.
    pairs = zip(coordinate, tensor.placements, strict=True)
    if any(place.is_replicate() and at > 0 for at, place in pairs):
        return []
    (chunk,) = tensor.__create_chunk_list__()
    local = tensor.to_local()
    return [Piece(name, tuple(chunk.offsets), local)] if local.numel() else []


def total_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Bytes of all tensors, whole, without headers."""
    return sum(tensor.numel() * tensor.dtype.itemsize for tensor in tensors.values())
