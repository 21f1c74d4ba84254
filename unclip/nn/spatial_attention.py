"""The U-Net's attention: positions see each other and added tokens (GLIDE, arXiv 2112.10741).

The added tokens' keys and values are the same at every sampling step, so they are prepared outside
(`SpatialAttention.context`) and handed in as a `Context`.
"""

from itertools import groupby
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import pad

from unclip.nn.attention import attend
from unclip.nn.initialise import zero
from unclip.nn.joined import join, one_product
from unclip.nn.transformer import KeyValues


class Context(NamedTuple):
    """The added tokens' keys and values for every attention, and which tokens are valid."""

    keys_values: tuple[KeyValues, ...]
    mask: Bool[Tensor, "batch tokens"] | None
    lengths: tuple[int, ...] | None = None
    """How many tokens of each row are valid, where those come first (`sliced`); then there is no
    mask."""

    def first(self, rows: int) -> "Context":
        """Returns the first rows of the batch."""
        mask = None if self.mask is None else self.mask[:rows]
        lengths = None if self.lengths is None else self.lengths[:rows]
        return Context(tuple(part.first(rows) for part in self.keys_values), mask, lengths)

    def sliced(self) -> "Context":
        """Returns the same with every row's valid tokens in front, for attention without a mask.

        The order of keys is nothing to attention. Looks at the mask's values, so it belongs before
        the sampling loop.
        """
        if self.mask is None:
            return self
        lengths = tuple(self.mask.sum(dim=1).tolist())
        order = self.mask.to(torch.int8).argsort(dim=1, descending=True, stable=True)
        order = order[:, None, : max(lengths), None]

        def front(x: Tensor) -> Tensor:
            return x.take_along_dim(order, dim=2)

        parts = (KeyValues(front(part.key), front(part.value)) for part in self.keys_values)
        return Context(tuple(parts), None, lengths)

    def keys_mask(self, positions: int) -> Bool[Tensor, "batch 1 1 keys"] | None:
        """Returns which keys are valid where the picture has so many positions; None for all."""
        if self.mask is None:
            return None
        return pad(self.mask, (0, positions), value=True)[:, None, None]


class SpatialAttention(nn.Module):
    """x + attention(norm(x)); without a `context_dim` it is plain self-attention."""

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
        self.to_out = nn.ModuleList([zero(nn.Linear(channels, channels))])

    def join(self) -> None:
        """Lays the weights of its projections side by side, so that they run as one product."""
        join((self.to_q, self.to_k, self.to_v))

    def context(self, tokens: Float[Tensor, "batch tokens dim"]) -> KeyValues:
        """Projects the added tokens to keys and values."""
        return KeyValues(self._heads(self.add_k_proj(tokens)), self._heads(self.add_v_proj(tokens)))

    def forward(
        self,
        x: Float[Tensor, "batch channels height width"],
        context: KeyValues | None,
        mask: Bool[Tensor, "batch 1 1 keys"] | None,
        lengths: tuple[int, ...] | None = None,
    ) -> Float[Tensor, "batch channels height width"]:
        """Attends; `mask` covers the added tokens, then the positions (`Context.keys_mask`).

        `lengths` says instead how many of the added tokens each row sees (`Context.lengths`).
        """
        tokens = rearrange(self.group_norm(x), "b c h w -> b (h w) c")
        layers = (self.to_q, self.to_k, self.to_v)
        qkv = one_product(layers, tokens)
        parts = (to(tokens) for to in layers) if qkv is None else qkv.chunk(3, dim=-1)
        q, k, v = map(self._heads, parts)
        out = rearrange(attend_context(q, k, v, context, mask, lengths), "b n p d -> b p (n d)")
        return x + rearrange(self.to_out[0](out), "b (h w) c -> b c h w", h=x.shape[2])

    def _heads(self, x: Tensor) -> Tensor:
        return rearrange(x, "b p (n d) -> b n p d", n=self.num_heads)


def attend_context(
    q: Float[Tensor, "batch heads positions head_dim"],
    k: Float[Tensor, "batch heads positions head_dim"],
    v: Float[Tensor, "batch heads positions head_dim"],
    context: KeyValues | None,
    mask: Bool[Tensor, "batch 1 1 keys"] | None,
    lengths: tuple[int, ...] | None,
) -> Float[Tensor, "batch heads positions head_dim"]:
    """Lets positions see each other and the added tokens that `mask` or `lengths` allow."""
    if context is None:
        return attend(q, k, v)
    if lengths is None:
        k, v = torch.cat([context.key, k], dim=2), torch.cat([context.value, v], dim=2)
        return attend(q, k, v, mask)
    parts = []
    for rows, length in _runs(lengths):
        keys = torch.cat([context.key[rows, :, :length], k[rows]], dim=2)
        values = torch.cat([context.value[rows, :, :length], v[rows]], dim=2)
        parts.append(attend(q[rows], keys, values))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _runs(lengths: tuple[int, ...]) -> list[tuple[slice, int]]:
    """Neighbouring rows of the same length, and that length."""
    runs, start = [], 0
    for length, rows in groupby(lengths):
        stop = start + len(list(rows))
        runs.append((slice(start, stop), length))
        start = stop
    return runs
