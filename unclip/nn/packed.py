"""Convolutions and linear layers whose weights oneDNN has laid out for this CPU beforehand.

PyTorch lays a layer's weights out anew at every call; a sampler calls it dozens of times. Packed
copies live as long as the kernels that hold them, beside the module's own weights, which nothing
here touches. Where oneDNN cannot (`unpacked_because`), the same layers run on PyTorch's public
functions.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, gelu, linear

_OPS: Any = torch.ops.mkldnn


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


def pack_conv(conv: nn.Conv2d) -> "_PackedConv | _PlainConv":
    """Returns a call that equals the layer, of an input in channels-last order.

    Its `bias` replaces the layer's own, and its `add` is added to the answer.
    """
    return _PackedConv(conv) if _can_pack(conv.weight) else _PlainConv(conv)


def pack_linear(*layers: nn.Linear) -> "_PackedLinear | _PlainLinear":
    """Returns a call that equals linear layers side by side; their answers stand in one tensor.

    Its `add` is added to the answer; with `activate` the answer goes through GELU.
    """
    weight, bias = layers[0].weight, layers[0].bias
    if len(layers) > 1:
        weight = torch.cat(tuple(layer.weight for layer in layers))
        bias = torch.cat(tuple(layer.bias for layer in layers))
    return _PackedLinear(weight, bias) if _can_pack(weight) else _PlainLinear(weight, bias)


def _can_pack(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and unpacked_because(weight.dtype) is None


class _PlainConv:
    """PyTorch's convolution, its weights in channels-last order."""

    def __init__(self, conv: nn.Conv2d) -> None:
        self.weight = conv.weight.to(memory_format=torch.channels_last)
        self.bias, self.padding = conv.bias, conv.padding

    def __call__(self, x: Tensor, bias: Tensor | None = None, add: Tensor | None = None) -> Tensor:
        out = conv2d(x, self.weight, self.bias if bias is None else bias, padding=self.padding)
        return out if add is None else out.add_(add)


class _PackedConv:
    """oneDNN's convolution; the weights are packed for the first input that comes."""

    def __init__(self, conv: nn.Conv2d) -> None:
        self.conv, self.packed = conv, None

    def __call__(self, x: Tensor, bias: Tensor | None = None, add: Tensor | None = None) -> Tensor:
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


class _PlainLinear:
    """PyTorch's linear layer."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, x: Tensor, add: Tensor | None = None, activate: bool = False) -> Tensor:
        out = linear(x, self.weight, self.bias)
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
