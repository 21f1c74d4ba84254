"""Networks whose parameters lie in parts on several processes: torch's `fully_shard` (FSDP2).

Accelerate applies it to a model and an optimiser together, on GPUs only; here it is applied to the
blocks of our networks, on any device, and optimiser and averages are made of the parts.
"""

import warnings

import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from unclip.errors import ConfigError
from unclip.training.blocks import blocks_of, compile_blocks, prepared_layers, recompute
from unclip.training.settings import TrainConfig


def prepare_model(model: nn.Module, config: TrainConfig, accelerator: Accelerator) -> nn.Module:
    """Returns what is called in the forward pass: the model in DDP, or the model itself, sharded.

    Raises:
        ConfigError: there is nothing to shard over.
    """
    if config.compile:
        compile_blocks(model)
    if config.recompute:
        recompute(model)
    if config.parallel == "ddp":
        return accelerator.prepare_model(model)
    if accelerator.num_processes == 1:
        raise ConfigError(
            "train.parallel is fsdp2 in one process, where there is nothing to shard over: launch "
            "several, or use ddp"
        )
    shard(model, accelerator.device.type)
    return model


def shard(model: nn.Module, device_type: str) -> None:
    """Replaces a model's parameters by this process's part of each, block by block.

    A block's parameters are whole while it runs, forward or backward; gradients are averaged over
    the processes. Parameters without axes stay whole.
    """
    mesh = init_device_mesh(device_type, (dist.get_world_size(),))
    scalars = {p for p in model.parameters() if p.ndim == 0}
    # Nobody writes into what these layers return.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    for layer in prepared_layers(model):
        fully_shard(layer, mesh=mesh, reshard_after_forward=False)
    for block in blocks_of(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh, ignored_params=scalars)
    for parameter in scalars:
        parameter.register_post_accumulate_grad_hook(_average_gradient)


def _average_gradient(parameter: Tensor) -> None:
    assert parameter.grad is not None, "the hook runs when there is one"
    dist.all_reduce(parameter.grad)
    parameter.grad /= dist.get_world_size()


def let_go(model: nn.Module) -> None:
    """Lets the process group of a run that is over end with it.

    PyTorch's caches keep device meshes for ever, and those the group, whose threads may abort
    Python as it ends.
    """
    for parameter in model.parameters():
        if isinstance(parameter, DTensor):
            parameter.device_mesh._pg_registry.clear()
