"""A causal transformer that is run a few tokens at a time: keys and values are kept."""

from collections.abc import Sequence
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unclip.nn.attention import attend
from unclip.nn.transformer import TransformerBlock


class Incremental:
    """Keeps what the tokens so far are to the ones that follow; for sampling, no gradients."""

    def __init__(
        self,
        blocks: nn.ModuleList | Sequence[TransformerBlock],
        rows: int,
        length: int,
        like: Tensor,
    ) -> None:
        """Makes room for `length` tokens in each row, of the device and precision of `like`."""
        self._blocks = [cast(TransformerBlock, block) for block in blocks]
        self._seen = torch.ones(rows, length, dtype=torch.bool, device=like.device)
        self._room: list[tuple[Tensor, Tensor]] = []
        for block in self._blocks:
            heads = block.attn1.num_heads
            shape = (rows, heads, length, block.attn1.to_q.out_features // heads)
            self._room.append((like.new_empty(shape), like.new_empty(shape)))
        self.length = 0
        """Tokens so far."""

    def run(
        self,
        x: Float[Tensor, "rows tokens dim"],
        mask: Bool[Tensor, "rows tokens"] | None = None,
    ) -> Float[Tensor, "rows tokens dim"]:
        """Runs the next tokens; each sees itself and all before it that `mask` marked."""
        start, end = self.length, self.length + x.shape[1]
        if mask is not None:
            self._seen[:, start:end] = mask
        seen = self._seen[:, None, None, :end]
        for block, (keys, values) in zip(self._blocks, self._room, strict=True):
            attention, h = block.attn1, block.norm1(x)
            q, k, v = (
                rearrange(to(h), "b n (h d) -> b h n d", h=attention.num_heads)
                for to in (attention.to_q, attention.to_k, attention.to_v)
            )
            keys[:, :, start:end], values[:, :, start:end] = k, v
            out = attend(q, keys[:, :, :end], values[:, :, :end], seen, causal=True)
            x = x + attention.to_out[0](rearrange(out, "b h n d -> b n (h d)"))
            x = x + block.ff(block.norm3(x))
        self.length = end
        return x
