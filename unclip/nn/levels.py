"""The U-Net's resolutions: down, middle and up, each residual blocks with attentions between."""

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unclip.nn.resblock import ResBlock
from unclip.nn.spatial_attention import Context, SpatialAttention
from unclip.nn.transformer import KeyValues

Kernels = Callable[[nn.Module], Callable[..., Any]]
"""A layer or block to what is called in its place: the same function, made for a device."""


def own_kernels(module: nn.Module) -> nn.Module:
    """Every module runs itself."""
    return module


class Conditions:
    """Hands the prepared conditions of one forward pass out, in the order in which blocks run."""

    def __init__(
        self,
        modulations: Sequence[Tensor],
        context: Context | None,
        kernels: Kernels = own_kernels,
    ) -> None:
        self.modulations = iter(modulations)
        self.kernels = kernels
        self.lengths = None if context is None else context.lengths
        self.keys_values: Iterator[KeyValues | None] = (
            repeat(None) if context is None else iter(context.keys_values)
        )
        self._context = context
        self._masks: dict[int, Tensor | None] = {}

    def keys_mask(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Bool[Tensor, "batch 1 1 keys"] | None:
        """Returns which keys are valid at the resolution of x; None for all."""
        if self._context is None or self.lengths is not None:
            return None
        positions = x.shape[2] * x.shape[3]
        if positions not in self._masks:
            self._masks[positions] = self._context.keys_mask(positions)
        return self._masks[positions]


class Level(nn.Module):
    """Residual blocks and attentions of one resolution."""

    def __init__(self, blocks: Sequence[ResBlock], sites: Sequence[SpatialAttention]) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(blocks)
        self.attentions = nn.ModuleList(sites)

    def blocks(self) -> list[ResBlock]:
        """Returns the residual blocks in the order in which they run."""
        return cast(list[ResBlock], list(self.resnets))

    def sites(self) -> list[SpatialAttention]:
        """Returns the attentions in the order in which they run."""
        return cast(list[SpatialAttention], list(self.attentions))

    def step(self, index: int, x: Tensor, conditions: Conditions) -> Tensor:
        """Runs a residual block and the attention after it, if there is one."""
        x = self.run_block(self.resnets[index], x, conditions)
        if index < len(self.attentions):
            keys_values, mask = next(conditions.keys_values), conditions.keys_mask(x)
            attention = conditions.kernels(self.attentions[index])
            x = attention(x, keys_values, mask, conditions.lengths)
        return x

    @staticmethod
    def run_block(block: nn.Module, x: Tensor, conditions: Conditions) -> Tensor:
        """Runs a residual block with its modulation."""
        return conditions.kernels(block)(x, next(conditions.modulations))


class DownLevel(Level):
    """A resolution on the way down; all but the last end by halving the picture."""

    def __init__(
        self,
        blocks: Sequence[ResBlock],
        sites: Sequence[SpatialAttention],
        halve: ResBlock | None,
    ) -> None:
        super().__init__(blocks, sites)
        self.downsamplers = nn.ModuleList([] if halve is None else [halve])

    def blocks(self) -> list[ResBlock]:
        """Returns the residual blocks in the order in which they run."""
        return cast(list[ResBlock], [*self.resnets, *self.downsamplers])

    def forward(
        self, x: Float[Tensor, "batch channels height width"], conditions: Conditions
    ) -> list[Tensor]:
        """Returns every feature map that the way up will read; the last one goes on."""
        features = []
        for index in range(len(self.resnets)):
            x = self.step(index, x, conditions)
            features.append(x)
        features += [self.run_block(halve, x, conditions) for halve in self.downsamplers]
        return features


class MiddleLevel(Level):
    """The coarsest resolution between down and up: block, attention, block."""

    def forward(
        self, x: Float[Tensor, "batch channels height width"], conditions: Conditions
    ) -> Float[Tensor, "batch channels height width"]:
        """Runs the blocks."""
        for index in range(len(self.resnets)):
            x = self.step(index, x, conditions)
        return x


class UpLevel(Level):
    """A resolution on the way up; all but the last end by doubling the picture."""

    def __init__(
        self,
        blocks: Sequence[ResBlock],
        sites: Sequence[SpatialAttention],
        double: ResBlock | None,
    ) -> None:
        super().__init__(blocks, sites)
        self.upsamplers = nn.ModuleList([] if double is None else [double])

    def blocks(self) -> list[ResBlock]:
        """Returns the residual blocks in the order in which they run."""
        return cast(list[ResBlock], [*self.resnets, *self.upsamplers])

    def forward(
        self,
        x: Float[Tensor, "batch channels height width"],
        features: list[Tensor],
        conditions: Conditions,
    ) -> Float[Tensor, "batch out_channels new_height new_width"]:
        """Runs the blocks; each takes the last of `features` beside what was made so far."""
        for index in range(len(self.resnets)):
            x = self.step(index, torch.cat([x, features.pop()], dim=1), conditions)
        for double in self.upsamplers:
            x = self.run_block(double, x, conditions)
        return x
