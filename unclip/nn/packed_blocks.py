"""The U-Net's blocks for a CPU: packed weights, additions inside of products, nothing copied twice.

What they answer is what the modules answer, but for rounding. Pictures are in channels-last order,
and no gradient passes.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import group_norm, silu

from unclip.nn.packed import pack_conv, pack_linear
from unclip.nn.resblock import ResBlock
from unclip.nn.spatial_attention import SpatialAttention, attend_context
from unclip.nn.transformer import KeyValues


class PackedKernels:
    """Makes the packed call of each layer or block when it is first asked for, and keeps it."""

    def __init__(self) -> None:
        self._made: dict[nn.Module, object] = {}

    def __call__(self, module: nn.Module):
        """Returns what runs in the place of a residual block, an attention or a convolution."""
        if module not in self._made:
            self._made[module] = _make(module)
        return self._made[module]


def _make(module: nn.Module):
    if isinstance(module, ResBlock):
        return PackedResBlock(module)
    if isinstance(module, SpatialAttention):
        return PackedAttention(module)
    assert isinstance(module, nn.Conv2d)
    return pack_conv(module)


def _norm(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    return group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps)


class PackedResBlock:
    """`ResBlock`."""

    def __init__(self, block: ResBlock) -> None:
        self.block = block
        self.conv1 = pack_conv(block.conv1, doubled=block.resample == "up")
        self.conv2 = pack_conv(block.conv2)
        shortcut = block.conv_shortcut
        self.shortcut = None if shortcut is None else pack_conv(shortcut)

    def __call__(self, x: Tensor, modulation: Tensor) -> Tensor:
        """Runs the block with a prepared modulation."""
        block = self.block
        h = self._modulated(x, modulation)
        x = block.resampled(x)
        add = x if self.shortcut is None else self.shortcut(x)
        return self.conv2(h, add=add, after_silu=True)

    def _modulated(self, x: Tensor, modulation: Tensor) -> Tensor:
        """The first convolution, the time, and the second norm."""
        block = self.block
        if block.scale_shift:
            factor, shift = modulation[:, :, None, None].chunk(2, dim=1)
            h = _norm(block.norm2, self._first(x))
            return torch.addcmul(shift, h, factor, out=h)
        if len(modulation) == 1:
            # The same for every picture: a bias.
            assert block.conv1.bias is not None
            h = self._first(x, bias=block.conv1.bias + modulation[0])
        else:
            h = self._first(x).add_(modulation[:, :, None, None])
        return _norm(block.norm2, h)

    def _first(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        h = _norm(self.block.norm1, x)
        if self.block.resample == "down":
            return self.conv1(self.block.resampled(silu(h, inplace=True)), bias=bias)
        return self.conv1(h, bias=bias, after_silu=True)


class PackedAttention:
    """`SpatialAttention`, its three projections as one."""

    def __init__(self, site: SpatialAttention) -> None:
        self.site = site
        self.to_qkv = pack_linear(site.to_q, site.to_k, site.to_v)
        self.to_out = pack_linear(cast(nn.Linear, site.to_out[0]))

    def __call__(
        self,
        x: Tensor,
        context: KeyValues | None,
        mask: Tensor | None,
        lengths: tuple[int, ...] | None,
    ) -> Tensor:
        """Attends, as the module does."""
        batch, channels, height, width = x.shape
        heads = self.site.num_heads
        # In channels-last order these are views.
        tokens = _norm(self.site.group_norm, x).permute(0, 2, 3, 1).flatten(1, 2)
        qkv = self.to_qkv(tokens).view(batch, height * width, 3, heads, -1)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        out = attend_context(q, k, v, context, mask, lengths).transpose(1, 2).flatten(2)
        out = self.to_out(out, add=x.permute(0, 2, 3, 1).flatten(1, 2))
        return out.view(batch, height, width, channels).permute(0, 3, 1, 2)
