"""The one U-Net: the decoder's, the upsamplers', and Karlo's when configured so.

Residual blocks that halve and double the picture (ADM, arXiv 2105.05233), attention that also sees
added keys and values (GLIDE, arXiv 2112.10741). Parameter names are those of diffusers'
UNet2DConditionModel and UNet2DModel. What sampling steps share is prepared outside `forward`:
`modulations` is all that depends on the time, `context` the keys and values of the added tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Num
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle, silu

from unclip.errors import ConfigError, InputError
from unclip.nn.attention import attend
from unclip.nn.embeddings import TimestepEmbedding, sinusoid
from unclip.nn.resblock import ResBlock
from unclip.nn.transformer import KeyValues


@dataclass(frozen=True, kw_only=True, slots=True)
class UNetConfig:
    """The shape of a U-Net."""

    in_channels: int = 3
    out_channels: int = 3
    extra_channels: int = 0
    """Further input channels whose weights begin at zero, so that a trained network may gain inputs."""
    channels: tuple[int, ...] = (320, 640, 960, 1280)
    """Width of each level, from the finest; a level has half the resolution of the one before."""
    depth: int = 3
    """Residual blocks a level on the way down; one more on the way up."""
    attention: tuple[bool, ...] = (False, True, True, True)
    """Attention after each block of a level; in the middle as on the last level."""
    head_dim: int = 64
    context_dim: int | None = None
    """Width of the added context tokens; None for no context."""
    scale_shift: bool = True
    """The time scales and shifts the second norm; else it is added before it."""
    groups: int = 32
    dropout: float = 0.0
    unshuffle: int = 1
    """The network works on squares of this many pixels as channels (space to depth)."""
    refine_channels: int = 0
    """With unshuffled pixels: channels at full resolution that a last 3x3 convolution reads beside the
    input; it removes the grid that shuffling leaves. 0 for none."""

    def __post_init__(self) -> None:
        if len(self.attention) != len(self.channels):
            raise ConfigError(
                f"unet: attention has {len(self.attention)} entries and channels "
                f"{len(self.channels)}; give one for each level"
            )
        for width, attends in zip(self.channels, self.attention, strict=True):
            if width % self.groups:
                raise ConfigError(f"unet: {width} channels do not divide into {self.groups} groups")
            if attends and width % self.head_dim:
                raise ConfigError(f"unet: {width} channels are no multiple of head_dim {self.head_dim}")

    @property
    def temb_dim(self) -> int:
        """Width of the time embedding."""
        return 4 * self.channels[0]


class Context(NamedTuple):
    """The added tokens' keys and values for every attention, and which tokens are valid."""

    keys_values: tuple[KeyValues, ...]
    mask: Bool[Tensor, "batch tokens"] | None


class SpatialAttention(nn.Module):
    """Self-attention over the picture's positions, which also look at the context's tokens."""

    def __init__(self, channels: int, head_dim: int, context_dim: int | None, groups: int) -> None:
        super().__init__()
        self.num_heads = channels // head_dim
        self.group_norm = nn.GroupNorm(groups, channels, eps=1e-5)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        if context_dim is not None:
            self.add_k_proj = nn.Linear(context_dim, channels)
            self.add_v_proj = nn.Linear(context_dim, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def context(self, tokens: Float[Tensor, "batch tokens dim"]) -> KeyValues:
        """Projects the context's tokens to keys and values."""
        return KeyValues(self._heads(self.add_k_proj(tokens)), self._heads(self.add_v_proj(tokens)))

    def forward(
        self,
        x: Float[Tensor, "batch channels height width"],
        context: KeyValues | None,
        mask: Bool[Tensor, "batch 1 1 keys"] | None,
    ) -> Float[Tensor, "batch channels height width"]:
        """Attends; `mask` covers the context's tokens and then the positions."""
        height = x.shape[2]
        tokens = rearrange(self.group_norm(x), "b c h w -> b (h w) c")
        q, k, v = (self._heads(to(tokens)) for to in (self.to_q, self.to_k, self.to_v))
        if context is not None:
            k = torch.cat([context.key, k], dim=2)
            v = torch.cat([context.value, v], dim=2)
        out = rearrange(attend(q, k, v, mask), "b n p d -> b p (n d)")
        return x + rearrange(self.to_out[0](out), "b (h w) c -> b c h w", h=height)

    def _heads(self, x: Tensor) -> Tensor:
        return rearrange(x, "b p (n d) -> b n p d", n=self.num_heads)


class Level(nn.Module):
    """One resolution on the way down or up: residual blocks, attentions, and a resampling block."""

    def __init__(
        self, blocks: list[ResBlock], attentions: list[SpatialAttention], resample: ResBlock | None
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(blocks)
        if attentions:
            self.attentions = nn.ModuleList(attentions)
        if resample is not None:
            name = "downsamplers" if resample.resample == "down" else "upsamplers"
            self.add_module(name, nn.ModuleList([resample]))
        self.num_attentions = len(attentions)

    def attention_at(self, index: int) -> SpatialAttention | None:
        """Returns the attention after a block, if the level has any."""
        return self.attentions[index] if self.num_attentions else None  # type: ignore[return-value]  # ModuleList is untyped

    @property
    def resampler(self) -> ResBlock | None:
        """Returns the block that halves or doubles the picture, if there is one."""
        for name in ("downsamplers", "upsamplers"):
            if hasattr(self, name):
                return getattr(self, name)[0]
        return None


class UNet(nn.Module):
    """Maps a noised picture to the network's answer, of the same size."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        first, patch = config.channels[0], config.unshuffle**2
        self.conv_in = nn.Conv2d(config.in_channels * patch, first, 3, padding=1)
        if config.extra_channels:
            self.conv_extra = nn.Conv2d(
                config.extra_channels * patch, first, 3, padding=1, bias=False
            )
            nn.init.zeros_(self.conv_extra.weight)
        self.time_embedding = TimestepEmbedding(first, config.temb_dim)

        # Down, middle, up; every feature map of the way down is read on the way up.
        self.down_blocks, skips = self._build_down()
        self.mid_block = self._build_middle()
        self.up_blocks = self._build_up(skips)

        self.conv_norm_out = nn.GroupNorm(config.groups, first, eps=1e-5)
        refine = config.refine_channels
        out = refine or config.out_channels
        self.conv_out = nn.Conv2d(first, out * patch, 3, padding=1)
        last = self.conv_out
        if refine:
            self.conv_refine = last = nn.Conv2d(
                refine + config.in_channels, config.out_channels, 3, padding=1
            )
        # The network begins by answering zero (ADM).
        nn.init.zeros_(last.weight)
        if last.bias is not None:
            nn.init.zeros_(last.bias)

    def modulations(
        self, t: Num[Tensor, " batch"], embed: Float[Tensor, "batch temb"] | None
    ) -> tuple[Tensor, ...]:
        """Computes what every residual block is told of the time.

        Args:
            t: times, in the units of the schedule.
            embed: a condition that is added to the time embedding.
        """
        weight = self.time_embedding.linear_1.weight
        temb = self.time_embedding(sinusoid(t, weight.shape[1]).to(weight.dtype))
        if embed is not None:
            temb = temb + embed
        return tuple(block.modulation(temb) for block in self._resblocks())

    def context(
        self,
        tokens: Float[Tensor, "batch tokens dim"],
        mask: Bool[Tensor, "batch tokens"] | None = None,
    ) -> Context:
        """Projects context tokens for every attention; `mask` marks the valid ones, None is all."""
        return Context(tuple(site.context(tokens) for site in self._attentions()), mask)

    def forward(
        self,
        x: Float[Tensor, "batch channels height width"],
        modulations: tuple[Tensor, ...],
        context: Context | None = None,
        extra: Float[Tensor, "batch extra height width"] | None = None,
    ) -> Float[Tensor, "batch out height width"]:
        """Runs the network on a picture with prepared conditions.

        Raises:
            InputError: height or width does not divide into the network's levels.
        """
        self._check_size(x.shape[-2], x.shape[-1])
        told = iter(modulations)
        keys_values = iter(context.keys_values if context is not None else ())
        tokens_mask = context.mask if context is not None else None

        # In.
        factor = self.config.unshuffle
        h = self.conv_in(pixel_unshuffle(x, factor))
        if extra is not None:
            h = h + self.conv_extra(pixel_unshuffle(extra, factor))

        # Down.
        skips = [h]
        for level in self.down_blocks:
            for index, block in enumerate(level.resnets):
                h = block(h, next(told))
                h = _attend_at(level.attention_at(index), h, keys_values, tokens_mask)
                skips.append(h)
            if (resampler := level.resampler) is not None:
                h = resampler(h, next(told))
                skips.append(h)

        # Middle.
        middle = self.mid_block
        h = middle.resnets[0](h, next(told))
        h = _attend_at(middle.attention_at(0), h, keys_values, tokens_mask)
        h = middle.resnets[1](h, next(told))

        # Up.
        for level in self.up_blocks:
            for index, block in enumerate(level.resnets):
                h = block(torch.cat([h, skips.pop()], dim=1), next(told))
                h = _attend_at(level.attention_at(index), h, keys_values, tokens_mask)
            if (resampler := level.resampler) is not None:
                h = resampler(h, next(told))

        # Out.
        h = pixel_shuffle(self.conv_out(silu(self.conv_norm_out(h))), factor)
        if self.config.refine_channels:
            h = self.conv_refine(torch.cat([silu(h), x], dim=1))
        return h

    def _build_down(self) -> tuple[nn.ModuleList, list[int]]:
        """Builds the way down; also returns the widths of the feature maps it leaves."""
        config = self.config
        levels, width, skips = nn.ModuleList(), config.channels[0], [config.channels[0]]
        for index, channels in enumerate(config.channels):
            blocks = [self._block(width if j == 0 else channels, channels) for j in range(config.depth)]
            skips += [channels] * config.depth
            last = index == len(config.channels) - 1
            resample = None if last else self._block(channels, channels, "down")
            if not last:
                skips.append(channels)
            levels.append(Level(blocks, self._sites(index, channels, config.depth), resample))
            width = channels
        return levels, skips

    def _build_middle(self) -> Level:
        width = self.config.channels[-1]
        blocks = [self._block(width, width), self._block(width, width)]
        return Level(blocks, self._sites(-1, width, 1), None)

    def _build_up(self, skips: list[int]) -> nn.ModuleList:
        config = self.config
        levels, width = nn.ModuleList(), config.channels[-1]
        for index in reversed(range(len(config.channels))):
            channels, blocks = config.channels[index], []
            for _ in range(config.depth + 1):
                blocks.append(self._block(width + skips.pop(), channels))
                width = channels
            resample = self._block(channels, channels, "up") if index else None
            levels.append(Level(blocks, self._sites(index, channels, config.depth + 1), resample))
        return levels

    def _block(
        self, in_channels: int, out_channels: int, resample: Literal["down", "up"] | None = None
    ) -> ResBlock:
        config = self.config
        return ResBlock(
            in_channels,
            out_channels,
            config.temb_dim,
            scale_shift=config.scale_shift,
            groups=config.groups,
            resample=resample,
            dropout=config.dropout,
        )

    def _sites(self, level: int, channels: int, count: int) -> list[SpatialAttention]:
        config = self.config
        if not config.attention[level]:
            return []
        return [
            SpatialAttention(channels, config.head_dim, config.context_dim, config.groups)
            for _ in range(count)
        ]

    def _levels(self) -> Iterator[Level]:
        """All levels in the order in which `forward` runs them."""
        for level in (*self.down_blocks, self.mid_block, *self.up_blocks):
            assert isinstance(level, Level)
            yield level

    def _resblocks(self) -> Iterator[ResBlock]:
        for level in self._levels():
            for block in level.resnets:
                assert isinstance(block, ResBlock)
                yield block
            if level.resampler is not None:
                yield level.resampler

    def _attentions(self) -> Iterator[SpatialAttention]:
        for level in self._levels():
            for index in range(level.num_attentions):
                site = level.attention_at(index)
                assert site is not None
                yield site

    def _check_size(self, height: int, width: int) -> None:
        step = self.config.unshuffle * 2 ** (len(self.config.channels) - 1)
        if height % step or width % step:
            raise InputError(
                f"the picture is {height}x{width} pixels, but this network needs multiples of {step}: "
                "resize or pad it"
            )


def _attend_at(
    site: SpatialAttention | None,
    x: Tensor,
    keys_values: Iterator[KeyValues],
    tokens_mask: Tensor | None,
) -> Tensor:
    """Runs the attention at a place of the network, if one is there."""
    if site is None:
        return x
    mask = None
    if tokens_mask is not None:
        positions = x.shape[2] * x.shape[3]
        mask = nn.functional.pad(tokens_mask, (0, positions), value=True)[:, None, None, :]
    return site(x, next(keys_values, None), mask)
