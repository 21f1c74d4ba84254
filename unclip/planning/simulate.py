"""A training step on the meta device: its FLOPs, and the memory that it holds at its peak.

No number is computed: every operation only makes tensors of the right shape, whose bytes are
counted while they live. What a GPU does otherwise than the meta device is put in its place here:
attention runs in a fused kernel, and autocast has convolutions and products in bfloat16, norms and
losses in float32.
"""

import gc
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from unclip.training.blocks import blocks_of

_LOWERED = (functional.linear, torch.conv2d, torch.matmul, torch.bmm)
_FLOAT = (
    functional.layer_norm,
    functional.group_norm,
    functional.cross_entropy,
    functional.mse_loss,
)
_WIDEST = (torch.addcmul,)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a step of so many samples takes."""

    forward_flops: int
    flops: int
    """Forward and backward, with what is computed again."""
    live_bytes: int
    """Most bytes alive at once beside the weights: activations, casts of weights, gradients."""
    saved_bytes: int
    """Activations that the forward pass leaves for the backward pass, casts of weights among
    them."""
    cast_bytes: int
    """Copies of weights in bfloat16 that autocast makes."""


def simulate(
    network: nn.Module,
    loss: Callable[[], Tensor],
    *,
    autocast: bool,
    recompute: bool = False,
    gradients_held: bool = False,
    casts_held: bool = True,
) -> Step:
    """Runs `loss` and its backward pass on the meta device.

    Args:
        network: on the meta device.
        autocast: as a GPU does in bfloat16; else all is float32.
        recompute: the activations within a block are computed again in the backward pass.
        gradients_held: room for all gradients is held beside, as DDP's buckets do, and they are
            not counted; else each is counted from when it is made.
        casts_held: weights in bfloat16 are kept for the backward pass; sharding makes them anew.
    """
    parameters = list(network.parameters())
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter) if gradients_held else None
    live, flops, saved = _LiveBytes(parameters), FlopCounterMode(display=False), _Saved(parameters)
    kernels = _Kernels(autocast, live, casts_held)
    with ExitStack() as stack:
        if recompute:
            stack.enter_context(_Recomputed(network, kernels))
        stack.enter_context(live)
        stack.enter_context(flops)
        with kernels, torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
            value = loss()
        kernels.left = True
        casts = sum(cast.nbytes for cast in kernels.casts.values())
        kernels.casts.clear()  # as at the end of `with autocast`; what is saved stays
        forward = flops.get_total_flops()
        value.backward()
    for parameter in parameters:
        parameter.grad = None
    return Step(
        forward_flops=forward,
        flops=flops.get_total_flops(),
        live_bytes=live.peak,
        saved_bytes=saved.total(),
        cast_bytes=casts,
    )


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of all storages that operations made and that somebody still holds."""

    def __init__(self, apart: list[nn.Parameter]) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.paused = False
        self._known: weakref.WeakValueDictionary[int, torch.UntypedStorage]
        self._known = weakref.WeakValueDictionary()
        for parameter in apart:
            self._known[parameter.untyped_storage()._cdata] = parameter.untyped_storage()
            if parameter.grad is not None:
                storage = parameter.grad.untyped_storage()
                self._known[storage._cdata] = storage

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._add(leaf.untyped_storage())
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        if self._known.get(storage._cdata) is storage:
            return
        self._known[storage._cdata] = storage
        if self.paused:
            return
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.live -= size


class _Saved:
    """Sums the storages that autograd keeps, each once, without the parameters."""

    def __init__(self, apart: list[nn.Parameter]) -> None:
        self._apart = {parameter.untyped_storage()._cdata for parameter in apart}
        self._storages: dict[int, int] = {}

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._apart:
            self._storages[storage._cdata] = storage.nbytes()
        return tensor

    def total(self) -> int:
        return sum(self._storages.values())


class _Kernels(TorchFunctionMode):
    """Fused attention, and autocast by the rules that PyTorch has for CUDA."""

    def __init__(self, autocast: bool, live: _LiveBytes, casts_held: bool) -> None:
        super().__init__()
        self.autocast, self.live, self.casts_held = autocast, live, casts_held
        self.casts: dict[int, Tensor] = {}
        self.left = False
        """The forward pass is over."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            return self._attend(*map(self._lowered, args[:3]), *args[3:], **kwargs)
        if self.autocast:
            to = None
            if func in _LOWERED:
                to = self._lowered
            elif func in _FLOAT or func in _WIDEST:
                to = _float
            if to is not None:
                args, kwargs = tuple(map(to, args)), {k: to(v) for k, v in kwargs.items()}
        return func(*args, **kwargs)

    def _lowered(self, value: Any) -> Any:
        if not self.autocast or not isinstance(value, Tensor) or value.dtype != torch.float32:
            return value
        if not isinstance(value, nn.Parameter):
            return value.to(torch.bfloat16)
        if id(value) not in self.casts:
            self.casts[id(value)] = self._cast(value)
        return self.casts[id(value)]

    def _cast(self, parameter: nn.Parameter) -> Tensor:
        self.live.paused = not self.casts_held
        cast = parameter.to(torch.bfloat16)
        self.live.paused = False
        return cast

    def _attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        attn_mask: Tensor | None = None,
        *,
        is_causal: bool = False,
    ) -> Tensor:
        bias = None
        if attn_mask is not None:
            bias = torch.empty_like(attn_mask, dtype=q.dtype)
            bias = bias.expand(q.shape[0], q.shape[1], q.shape[2], k.shape[2])
        op = torch.ops.aten._scaled_dot_product_efficient_attention
        return op(q, k, v, bias, True, 0.0, is_causal)[0]


class _Recomputed:
    """Within it, all blocks of a network are checkpointed."""

    def __init__(self, network: nn.Module, kernels: _Kernels) -> None:
        self.blocks = blocks_of(network)
        self.kernels = kernels

    def __enter__(self) -> None:
        for block in self.blocks:
            run = partial(self._run, block.forward)
            block.forward = partial(checkpoint, run, use_reentrant=False, preserve_rng_state=False)
        gc.freeze()  # what is there already need not be looked through again and again

    def __exit__(self, *_: object) -> None:
        for block in self.blocks:
            del block.forward
        gc.unfreeze()

    def _run(self, forward: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        # The backward pass runs outside of the kernels' mode, what it computes again within.
        if not self.kernels.left:
            return forward(*args, **kwargs)
        # The checkpoint of the block before is a cycle of references, which holds what it computed.
        gc.collect()
        try:
            with self.kernels:
                return forward(*args, **kwargs)
        finally:
            self.kernels.casts.clear()


def _float(value: Any) -> Any:
    lower = isinstance(value, Tensor) and value.dtype == torch.bfloat16
    return value.float() if lower else value


def block_sizes(network: nn.Module) -> tuple[int, int]:
    """Parameters of the largest block, and of all that is in none."""
    sizes = [sum(p.numel() for p in block.parameters()) for block in blocks_of(network)]
    return max(sizes), sum(p.numel() for p in network.parameters()) - sum(sizes)
