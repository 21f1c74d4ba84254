"""Convolutions and linear layers whose weights oneDNN has laid out for this CPU beforehand.

PyTorch lays a layer's weights out anew at every call; a sampler calls it dozens of times. Packed
copies live as long as the kernels that hold them, beside the module's own weights, which nothing
here touches. Where oneDNN cannot (`unpacked_because`), the same layers run on PyTorch's public
functions. In float32 the larger convolutions of 3x3 take fewer products (`unclip.nn.winograd`).
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, gelu, interpolate, silu

from unclip.nn import winograd
from unclip.nn.graphs import RECORDERS
from unclip.nn.joined import one_product
from unclip.nn.winograd import DoublingConv, WinogradConv

_OPS: Any = torch.ops.mkldnn

Convolve = Callable[..., Tensor]
"""Called with an input in channels-last order. `bias` replaces the layer's own, `add` is added to
the answer, and `after_silu` sends the input through SiLU first, which may overwrite it."""


@cache
def unpacked_because(dtype: torch.dtype) -> str | None:
    """Says why weights of a precision cannot be packed on this CPU; None where they can."""
    if not torch.backends.mkldnn.is_available():
        return "this PyTorch is built without oneDNN"
    supported = {
        torch.float32: lambda: True,
        torch.bfloat16: _OPS._is_mkldnn_bf16_supported,
        torch.float16: _OPS._is_mkldnn_fp16_supported,
    }
    if dtype not in supported:
        return f"oneDNN has no kernels for {str(dtype).removeprefix('torch.')}"
    try:
        if not supported[dtype]():
            return f"this CPU has no instructions for {str(dtype).removeprefix('torch.')}"
        _try_kernels(dtype)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError) as error:
        # The operators are PyTorch's own, for its compiler, and may change with it.
        return f"this PyTorch lacks oneDNN's operators ({str(error).strip().splitlines()[0]})"
    return None


@torch.inference_mode()
def _try_kernels(dtype: torch.dtype) -> None:
    x = torch.ones(1, 8, 4, 4, dtype=dtype).to(memory_format=torch.channels_last)
    conv, layer = nn.Conv2d(8, 8, 3, padding=1, dtype=dtype), nn.Linear(8, 8, dtype=dtype)
    _PackedConv(conv)(x, add=x)
    rows = torch.ones(4, 8, dtype=dtype)
    _PackedLinear(layer.weight, layer.bias)(rows, add=rows)


def pack_conv(conv: nn.Conv2d, *, doubled: bool = False) -> Convolve:
    """Returns a call that equals the layer; `doubled` doubles the picture first."""
    packs = _can_pack(conv.weight)
    made: Convolve = _PackedConv(conv) if packs else _PlainConv(conv)
    reducible = packs and winograd.applies(conv)
    if reducible:
        made = _WhereItPays(WinogradConv, conv, made)
    if doubled:
        made = _Doubled(made)
        if reducible:
            made = _WhereItPays(DoublingConv, conv, made)
    return made


def pack_linear(*layers: nn.Linear) -> "_PackedLinear | _PlainLinear":
    """Returns a call that equals linear layers side by side; their answers stand in one tensor.

    Its `add` is added to the answer; with `activate` the answer goes through GELU.
    """
    if not _can_pack(layers[0].weight):
        return _PlainLinear(layers)
    if len(layers) == 1:
        return _PackedLinear(layers[0].weight, layers[0].bias)
    return _PackedLinear(
        torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])
    )


def _can_pack(weight: Tensor) -> bool:
    kind = weight.device.type
    return kind == "cpu" and kind not in RECORDERS and unpacked_because(weight.dtype) is None


class _PlainConv:
    """PyTorch's convolution, its weights in channels-last order."""

    def __init__(self, conv: nn.Conv2d) -> None:
        self.weight = conv.weight.to(memory_format=torch.channels_last)
        self.bias, self.padding = conv.bias, conv.padding

    def __call__(
        self,
        x: Tensor,
        bias: Tensor | None = None,
        add: Tensor | None = None,
        after_silu: bool = False,
    ) -> Tensor:
        x = silu(x, inplace=True) if after_silu else x
        out = conv2d(x, self.weight, self.bias if bias is None else bias, padding=self.padding)
        return out if add is None else out.add_(add)


class _PackedConv:
    """oneDNN's convolution; the weights are packed for the first input that comes."""

    def __init__(self, conv: nn.Conv2d) -> None:
        self.conv, self.packed = conv, None

    def __call__(
        self,
        x: Tensor,
        bias: Tensor | None = None,
        add: Tensor | None = None,
        after_silu: bool = False,
    ) -> Tensor:
        x = silu(x, inplace=True) if after_silu else x
        conv = self.conv
        shape = (conv.padding, conv.stride, conv.dilation, conv.groups)
        if self.packed is None:
            self.packed = _OPS._reorder_convolution_weight(conv.weight, *shape, list(x.shape))
        bias = conv.bias if bias is None else bias
        if add is None:
            return _OPS._convolution_pointwise(x, self.packed, bias, *shape, "none", [], "")
        return _OPS._convolution_pointwise.binary(
            x, add, self.packed, bias, *shape, "add", 1.0, None, [], None
        )


class _WhereItPays:
    """A kernel of `unclip.nn.winograd` for inputs of which it makes short work, or the other."""

    def __init__(self, kind: type[WinogradConv], conv: nn.Conv2d, otherwise: Convolve) -> None:
        self.kind, self.conv, self.otherwise = kind, conv, otherwise
        self.kernel: WinogradConv | None = None

    def __call__(self, x: Tensor, **more: Any) -> Tensor:
        if not self.kind.pays(self.conv, x.shape):
            return self.otherwise(x, **more)
        if self.kernel is None:
            self.kernel = self.kind(self.conv)
        return self.kernel(x, **more)


class _Doubled:
    """A convolution of a picture that is doubled first, by repeating pixels."""

    def __init__(self, convolve: Convolve) -> None:
        self.convolve = convolve

    def __call__(self, x: Tensor, after_silu: bool = False, **more: Any) -> Tensor:
        x = silu(x, inplace=True) if after_silu else x
        return self.convolve(interpolate(x, scale_factor=2.0, mode="nearest"), **more)


class _PlainLinear:
    """PyTorch's linear layers, with their own weights: what is recorded must stay where it is."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self.layers = layers

    def __call__(self, x: Tensor, add: Tensor | None = None, activate: bool = False) -> Tensor:
        out = one_product(self.layers, x) if len(self.layers) > 1 else self.layers[0](x)
        if out is None:
            out = torch.cat([layer(x) for layer in self.layers], dim=-1)
        if activate:
            out = gelu(out)
        return out if add is None else out.add_(add)


class _PackedLinear:
    """oneDNN's linear layer; the weights are packed for the first input that comes."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight: Tensor | None = weight
        self.bias = bias
        self.packed: Tensor | None = None

    def __call__(self, x: Tensor, add: Tensor | None = None, activate: bool = False) -> Tensor:
        if self.packed is None:
            assert self.weight is not None
            rows = x.numel() // x.shape[-1]
            self.packed = _OPS._reorder_linear_weight(self.weight, rows)
            self.weight = None
        if add is not None:
            return _OPS._linear_pointwise.binary(x, add, self.packed, self.bias, "add")
        kind = ("gelu", [], "none") if activate else ("none", [], "")
        return _OPS._linear_pointwise(x, self.packed, self.bias, *kind)
