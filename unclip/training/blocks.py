"""The blocks of our networks: what is sharded, recomputed and compiled as one."""

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from unclip.nn.resblock import ResBlock
from unclip.nn.spatial_attention import SpatialAttention
from unclip.nn.transformer import TransformerBlock

PREPARED = ("time_emb_proj", "add_k_proj", "add_v_proj")
"""Layers of a U-Net's blocks that run before the blocks do."""


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """Lists the blocks of a network, in the order of its modules; none lies in another."""
    kinds: list[type[nn.Module]] = [TransformerBlock, ResBlock, SpatialAttention]
    # The CLIP that is trained is open_clip's, which is slow to import: whoever has it has done so.
    if (clip := sys.modules.get("open_clip.transformer")) is not None:
        kinds.append(clip.ResidualAttentionBlock)
    return [module for module in model.modules() if isinstance(module, tuple(kinds))]


def prepared_layers(model: nn.Module) -> list[nn.Module]:
    """Lists the layers in blocks that run outside of them."""
    blocks = blocks_of(model)
    return [getattr(each, name) for each in blocks for name in PREPARED if hasattr(each, name)]


def recompute(model: nn.Module) -> None:
    """Lets every block forget its activations and compute them again in the backward pass.

    The random numbers are drawn again as they were: without that, dropout's gradient is wrong.
    Names and hooks stay what they are, for only `forward` is wrapped.
    """
    for block in blocks_of(model):
        block.forward = _recomputed(block)


def _recomputed(block: nn.Module) -> Callable[..., object]:
    forward = block.forward

    def run(*args: Any, **kwargs: Any) -> object:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, preserve_rng_state=True, **kwargs)

    return run


def compile_blocks(model: nn.Module) -> None:
    """Compiles every block by itself; blocks of one shape share the code.

    A block that cannot be compiled whole is an error, no silent return to eager.
    """
    blocks = blocks_of(model)
    # A code object is compiled anew for each shape, eight times by default.
    limit = torch._dynamo.config.recompile_limit  # type: ignore[attr-defined]
    torch._dynamo.config.recompile_limit = max(limit, 4 * len(blocks))  # type: ignore[attr-defined]
    for block in blocks:
        block.forward = torch.compile(block.forward, fullgraph=True, dynamic=False)
