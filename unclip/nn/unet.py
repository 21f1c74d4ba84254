"""The one U-Net: the decoder's, the upsamplers', and Karlo's when configured so.

Residual blocks that halve and double the picture (ADM, arXiv 2105.05233), attention that also sees
added tokens (GLIDE, arXiv 2112.10741). Parameter names are those of diffusers'
UNet2DConditionModel and UNet2DModel. What sampling steps share is prepared outside `forward`:
`modulations` is all that depends on the time, `context` the keys and values of the added tokens.

Nothing here needs values: on the meta device `torch.utils.flop_counter` counts a forward pass.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from jaxtyping import Bool, Float, Num
from torch import Tensor, nn
from torch.nn.functional import linear, pixel_shuffle, pixel_unshuffle, silu

from unclip.config import BELOW_ONE, INF, check_ranges
from unclip.errors import ConfigError, InputError
from unclip.nn.embeddings import TimestepEmbedding, sinusoid
from unclip.nn.initialise import zero
from unclip.nn.levels import (
    Conditions,
    DownLevel,
    Kernels,
    Level,
    MiddleLevel,
    UpLevel,
    own_kernels,
)
from unclip.nn.resblock import ResBlock
from unclip.nn.spatial_attention import Context, SpatialAttention


@dataclass(frozen=True, kw_only=True, slots=True)
class UNetConfig:
    """The shape of a U-Net."""

    in_channels: int = 3
    out_channels: int = 3
    extra_channels: int = 0
    """Further input channels whose weights begin at zero: a trained network may gain inputs."""
    channels: tuple[int, ...] = (320, 640, 960, 1280)
    """Width of each level, from the finest; a level has half the resolution of the one before."""
    depth: int = 3
    """Residual blocks a level on the way down; one more on the way up."""
    attention: tuple[bool, ...] = (False, True, True, True)
    """Attention after each block of a level; in the middle as on the last level."""
    head_dim: int = 64
    context_dim: int | None = None
    """Width of the added tokens that attention also sees; None for none."""
    scale_shift: bool = True
    """The time scales and shifts the second norm; else it is added before it."""
    groups: int = 32
    """Groups of every group norm; all widths are multiples of it."""
    dropout: float = 0.0
    """Share of activations dropped before a residual block's last convolution, in [0, 1)."""
    positions: int = 0
    """Rows and columns of the finest level, each with a learned vector that is added to the first
    features; 0 for none. Convolutions know where they are only by the padding, of which a shallow
    network sees little."""
    unshuffle: int = 1
    """Side in pixels of the squares that the network sees as channels (space to depth)."""
    refine_channels: int = 0
    """Channels at full resolution that a last 3x3 convolution reads beside the input, which removes
    the grid that `unshuffle` leaves; 0 for no such convolution."""
    middle_attention: bool | None = None
    """Attention between the middle's two blocks; None is as on the last level."""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            "unet: ",
            in_channels=(1, INF),
            out_channels=(1, INF),
            extra_channels=(0, INF),
            positions=(0, INF),
            depth=(1, INF),
            head_dim=(1, INF),
            groups=(1, INF),
            unshuffle=(1, INF),
            refine_channels=(0, INF),
            dropout=(0, BELOW_ONE),
        )
        if not self.channels or len(self.attention) != len(self.channels):
            raise ConfigError(
                f"unet: attention has {len(self.attention)} entries and channels "
                f"{len(self.channels)}: give one of each for every level"
            )
        if self.context_dim is not None and not any(self.attention):
            raise ConfigError(
                f"unet: context_dim is {self.context_dim} but no level has attention: "
                "set context_dim to null, or attention on a level"
            )
        self._check_widths()

    def _check_widths(self) -> None:
        attention = (*self.attention[:-1], self.attention[-1] or bool(self.middle_attention))
        for width, attends in zip(self.channels, attention, strict=True):
            if width < 1 or width % self.groups:
                raise ConfigError(
                    f"unet: {width} channels do not divide into {self.groups} groups: "
                    "change channels or groups"
                )
            if attends and width % self.head_dim:
                raise ConfigError(
                    f"unet: {width} channels are no multiple of head_dim {self.head_dim}: "
                    "change channels or head_dim"
                )
        if self.channels[0] % 2:
            raise ConfigError(
                f"unet: channels begins with {self.channels[0]}, expected an even number: "
                "the time embedding is made of pairs of a cosine and a sine"
            )

    @property
    def temb_dim(self) -> int:
        """Width of the time embedding."""
        return 4 * self.channels[0]

    @property
    def stride(self) -> int:
        """Height and width of a picture, in pixels, are multiples of this."""
        return self.unshuffle * 2 ** (len(self.channels) - 1)


class UNet(nn.Module):
    """Maps a noised picture to the network's answer, of the same size."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        first, patch = config.channels[0], config.unshuffle**2
        self.conv_in = nn.Conv2d(config.in_channels * patch, first, 3, padding=1)
        if config.extra_channels:
            extra = config.extra_channels * patch
            self.conv_extra = zero(nn.Conv2d(extra, first, 3, padding=1, bias=False))
        if config.positions:
            self.row_embedding = nn.Parameter(torch.zeros(first, config.positions, 1))
            self.column_embedding = nn.Parameter(torch.zeros(first, 1, config.positions))
        self.time_embedding = TimestepEmbedding(first, config.temb_dim)

        # Every feature map of the way down is read once on the way up.
        self.down_blocks, features = _build_down(config)
        self.mid_block = _build_middle(config)
        self.up_blocks = _build_up(config, features)

        # The network begins by answering zero: its last convolution does.
        refine = config.refine_channels
        self.conv_norm_out = nn.GroupNorm(config.groups, first, eps=1e-5)
        self.conv_out = nn.Conv2d(first, (refine or config.out_channels) * patch, 3, padding=1)
        if refine:
            inputs = refine + config.in_channels
            self.conv_refine = zero(nn.Conv2d(inputs, config.out_channels, 3, padding=1))
        else:
            zero(self.conv_out)

    def modulations(
        self, t: Num[Tensor, " batch"], embed: Float[Tensor, "batch temb"] | None
    ) -> tuple[Tensor, ...]:
        """Prepares all that depends on the time, a tensor for each residual block in running order.

        Rows are independent, so the rows of all sampling steps may be prepared in one call.

        Args:
            t: times, in the units of the schedule.
            embed: a condition that is added to the time embedding.
        """
        dtype = self.time_embedding.linear_1.weight.dtype
        temb = self.time_embedding(sinusoid(t, self.config.channels[0]).to(dtype))
        if embed is not None:
            temb = temb + embed
        return tuple(block.modulation(temb) for block in self._blocks())

    def modulations_of_steps(
        self, times: Sequence[int], embed: Float[Tensor, "rows temb"] | None
    ) -> dict[int, tuple[Float[Tensor, "rows modulation"], ...]]:
        """Prepares the `modulations` of all sampling steps, by time, in one product.

        Args:
            embed: a condition of each row; with None the one row is for all pictures.
        """
        blocks = list(self._blocks())
        t = torch.tensor(times, device=self.conv_in.weight.device)
        dtype = self.time_embedding.linear_1.weight.dtype
        temb = self.time_embedding(sinusoid(t, self.config.channels[0]).to(dtype))[:, None]
        if embed is not None:
            temb = temb + embed  # (T, B, temb)
        weight = torch.cat([block.time_emb_proj.weight for block in blocks])
        bias = torch.cat([block.time_emb_proj.bias for block in blocks])
        parts = linear(silu(temb), weight, bias).split(
            [block.time_emb_proj.out_features for block in blocks], dim=2
        )
        told = [block.told(part) for block, part in zip(blocks, parts, strict=True)]
        return {time: tuple(part[i] for part in told) for i, time in enumerate(times)}

    def context(
        self,
        tokens: Float[Tensor, "batch tokens dim"],
        mask: Bool[Tensor, "batch tokens"] | None = None,
    ) -> Context:
        """Prepares the added tokens for every attention.

        Args:
            mask: marks the valid tokens. None says that all are, which lets attention take its
                fastest kernels; the mask's values are never looked at.
        """
        sites = (site for level in self._levels() for site in level.sites())
        return Context(tuple(site.context(tokens) for site in sites), mask)

    def forward(
        self,
        x: Float[Tensor, "batch channels height width"],
        modulations: tuple[Tensor, ...],
        context: Context | None = None,
        extra: Float[Tensor, "batch extra height width"] | None = None,
        kernels: Kernels = own_kernels,
    ) -> Float[Tensor, "batch out height width"]:
        """Runs the network on a picture with prepared conditions.

        Args:
            extra: the input channels that were added later; None stands for zeros.
            kernels: what runs in the place of blocks and convolutions (`unclip.nn.fast`).

        Raises:
            InputError: a size or a number of channels is not the network's, or the context is
                missing or not wanted.
        """
        self._check_inputs(x, context, extra)
        conditions = Conditions(modulations, context, kernels)

        features = [self._read(x, extra, kernels)]
        for level in self.down_blocks:
            features += level(features[-1], conditions)
        h = self.mid_block(features[-1], conditions)
        for level in self.up_blocks:
            h = level(h, features, conditions)
        return self._answer(h, x, kernels)

    def _read(self, x: Tensor, extra: Tensor | None, kernels: Kernels) -> Tensor:
        factor = self.config.unshuffle
        h = kernels(self.conv_in)(pixel_unshuffle(x, factor) if factor > 1 else x)
        if self.config.positions:
            h = h + (self.row_embedding + self.column_embedding).to(h.dtype)
        if extra is None:
            return h
        extra = pixel_unshuffle(extra, factor) if factor > 1 else extra
        return h + kernels(self.conv_extra)(extra)

    def _answer(self, h: Tensor, x: Tensor, kernels: Kernels) -> Tensor:
        factor = self.config.unshuffle
        h = kernels(self.conv_out)(silu(self.conv_norm_out(h)))
        h = pixel_shuffle(h, factor) if factor > 1 else h
        if not self.config.refine_channels:
            return h
        return kernels(self.conv_refine)(torch.cat([silu(h), x], dim=1))

    def _blocks(self) -> Iterator[ResBlock]:
        """All residual blocks in the order in which `forward` runs them."""
        for level in self._levels():
            yield from level.blocks()

    def _levels(self) -> Iterator[Level]:
        """All levels in the order in which `forward` runs them."""
        yield from cast(Iterator[Level], (*self.down_blocks, self.mid_block, *self.up_blocks))

    def _check_inputs(self, x: Tensor, context: Context | None, extra: Tensor | None) -> None:
        config = self.config
        _, channels, height, width = x.shape
        if channels != config.in_channels:
            raise InputError(
                f"the picture has {channels} channels, but this network takes {config.in_channels}"
            )
        if height % config.stride or width % config.stride:
            raise InputError(
                f"the picture is {width}x{height} pixels, but this network takes multiples of "
                f"{config.stride}: resize or pad it"
            )
        side = config.positions * config.unshuffle
        if side and (height, width) != (side, side):
            raise InputError(
                f"the picture is {width}x{height} pixels, but this network knows the positions of "
                f"{side}x{side}: resize it"
            )
        if extra is not None and extra.shape[1:] != (config.extra_channels, height, width):
            raise InputError(
                f"the extra input is {tuple(extra.shape[1:])}, but this network takes "
                f"{(config.extra_channels, height, width)}: give it so, or None"
            )
        if (context is None) != (config.context_dim is None):
            raise InputError(
                "the context is missing: prepare it with UNet.context"
                if context is None
                else "this network takes no context: give None, or set context_dim"
            )


def _build_down(config: UNetConfig) -> tuple[nn.ModuleList, list[int]]:
    """Builds the way down; also returns the widths of the feature maps it leaves."""
    levels, width = nn.ModuleList(), config.channels[0]
    features = [width]
    for index, channels in enumerate(config.channels):
        inputs = [width] + [channels] * (config.depth - 1)
        blocks = [_block(config, width, channels) for width in inputs]
        last = index == len(config.channels) - 1
        halve = None if last else _block(config, channels, channels, "down")
        sites = _sites(config, index, config.depth if config.attention[index] else 0)
        levels.append(DownLevel(blocks, sites, halve))
        features += [channels] * (config.depth if last else config.depth + 1)
        width = channels
    return levels, features


def _build_middle(config: UNetConfig) -> MiddleLevel:
    width = config.channels[-1]
    attends = config.attention[-1] if config.middle_attention is None else config.middle_attention
    sites = _sites(config, -1, int(attends))
    return MiddleLevel([_block(config, width, width) for _ in range(2)], sites)


def _build_up(config: UNetConfig, features: list[int]) -> nn.ModuleList:
    """Builds the way up, which reads the feature maps of the way down, the last one first."""
    levels, width = nn.ModuleList(), config.channels[-1]
    for index in reversed(range(len(config.channels))):
        channels, blocks = config.channels[index], []
        for _ in range(config.depth + 1):
            blocks.append(_block(config, width + features.pop(), channels))
            width = channels
        double = _block(config, channels, channels, "up") if index else None
        sites = _sites(config, index, config.depth + 1 if config.attention[index] else 0)
        levels.append(UpLevel(blocks, sites, double))
    return levels


def _block(
    config: UNetConfig,
    in_channels: int,
    out_channels: int,
    resample: Literal["down", "up"] | None = None,
) -> ResBlock:
    return ResBlock(
        in_channels,
        out_channels,
        config.temb_dim,
        scale_shift=config.scale_shift,
        groups=config.groups,
        resample=resample,
        dropout=config.dropout,
    )


def _sites(config: UNetConfig, level: int, count: int) -> list[SpatialAttention]:
    width = config.channels[level]
    return [
        SpatialAttention(width, config.head_dim, config.context_dim, config.groups)
        for _ in range(count)
    ]
