"""How a network begins: what is added to a residual stream, and the answer, begin at zero.

As in ADM (arXiv 2105.05233): the second convolution of every residual block, the output projection
of the U-Net's attentions and its last convolution. A deep network then begins as a shallow one that
answers zero, and no scale need be tuned to its depth.
"""

from typing import TypeVar

from torch import nn

Layer = TypeVar("Layer", bound=nn.Module)


def zero(layer: Layer) -> Layer:
    """Sets all parameters of a layer to zero and returns it."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
