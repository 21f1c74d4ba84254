"""How a network begins: what is added to a residual stream, and the answer, begin at zero.

As in ADM (arXiv 2105.05233): the second convolution of every residual block, the output projection
of the U-Net's attentions and its last convolution. A deep network then begins as a shallow one that
answers zero, and no scale need be tuned to its depth.
"""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Layer = TypeVar("Layer", bound=nn.Module)


def zero(layer: Layer) -> Layer:
    """Sets all parameters of a layer to zero and returns it."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class NoFirstWeights(TorchFunctionMode):
    """Leaves out drawing and scaling first weights: all are loaded right after.

    On the meta device that would import PyTorch's compiler, which takes longer than all the rest.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        if func in (Tensor.mul, Tensor.__mul__) and args[0].is_meta:
            return args[0]
        return (torch.empty if func is torch.randn else func)(*args, **(kwargs or {}))
