"""How a network runs while it samples: the same function, by the means that suit its device.

The choice is made here alone. On a CPU weights are packed, pictures are in channels-last order,
freed memory is kept, and on one thread large convolutions in float32 take fewer products
(`unclip.nn.packed`, `unclip.nn.memory`, `unclip.nn.winograd`); elsewhere the network runs itself.
Nothing of it outlives the `with` block, and the network's own weights are never touched.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from unclip.nn.graphs import RECORDERS
from unclip.nn.memory import kept_memory
from unclip.nn.packed_blocks import PackedKernels
from unclip.nn.unet import UNet

Run = Callable[..., Tensor]


@contextmanager
def fast(network: UNet) -> Iterator[Run]:
    """Yields what is called as `UNet.forward` while the block lasts; for sampling alone.

    Packed copies take as much memory as the weights themselves, of one network at a time; on one
    thread in float32, the larger convolutions of 3x3 take 16/9 of it (`unclip.nn.winograd`).
    """
    kind = network.conv_in.weight.device.type
    if kind != "cpu" or kind in RECORDERS:
        yield network
        return
    kernels = PackedKernels()

    def run(x: Tensor, *conditions: object, **more: object) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        return network(x, *conditions, **more, kernels=kernels)

    with kept_memory():
        yield run
