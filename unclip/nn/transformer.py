"""One pre-norm transformer for the prior and the CLIP towers.

Parameter names are those of diffusers' PriorTransformer blocks (norm1, attn1, norm3, ff), so that
loading Karlo's prior renames nothing. Sampling does not run it over all tokens at every step: see
`unclip.nn.stepping`.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from unclip.errors import ConfigError
from unclip.nn.attention import attend, causal_mask
from unclip.nn.joined import join

Activation = Literal["gelu", "quick_gelu"]


class KeyValues(NamedTuple):
    """One block's keys and values."""

    key: Float[Tensor, "batch heads keys head_dim"]
    value: Float[Tensor, "batch heads keys head_dim"]

    def first(self, rows: int) -> "KeyValues":
        """Returns the first rows of the batch."""
        return KeyValues(self.key[:rows], self.value[:rows])


def quick_gelu(x: Tensor) -> Tensor:
    """OpenAI CLIP's approximation of GELU: x sigmoid(1.702 x)."""
    return x * torch.sigmoid(1.702 * x)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": gelu,
    "quick_gelu": quick_gelu,
}


class Attention(nn.Module):
    """Multi-head attention with biased projections."""

    def __init__(self, dim: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        width = num_heads * head_dim
        self.to_q = nn.Linear(dim, width)
        self.to_k = nn.Linear(dim, width)
        self.to_v = nn.Linear(dim, width)
        self.to_out = nn.ModuleList([nn.Linear(width, dim)])

    def join(self) -> None:
        """Lays the weights of its projections side by side, so that they run as one product."""
        join((self.to_q, self.to_k, self.to_v))

    def forward(self, x: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        """Lets the tokens x look at each other."""
        q, k, v = (
            rearrange(to(x), "b n (h d) -> b h n d", h=self.num_heads)
            for to in (self.to_q, self.to_k, self.to_v)
        )
        out = attend(q, k, v, mask, causal)
        return self.to_out[0](rearrange(out, "b h n d -> b n (h d)"))


class Projection(nn.Module):
    """The first linear layer of the feed-forward network and its activation."""

    def __init__(self, dim: int, mlp_dim: int, activation: Activation) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, mlp_dim)
        self.activation = _ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """Projects and activates."""
        return self.activation(self.proj(x))


class FeedForward(nn.Module):
    """Linear, activation, linear; the index in between is kept free to keep diffusers' names."""

    def __init__(self, dim: int, mlp_dim: int, activation: Activation) -> None:
        super().__init__()
        self.net = nn.ModuleList(
            [Projection(dim, mlp_dim, activation), nn.Identity(), nn.Linear(mlp_dim, dim)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps every token alone."""
        return self.net[2](self.net[0](x))


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x)).

    Raises:
        ConfigError: `head_dim` is not given and `num_heads` does not divide `dim`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int | None = None,
        mlp_dim: int | None = None,
        activation: Activation = "gelu",
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if head_dim is None and dim % num_heads:
            raise ConfigError(
                f"transformer: width {dim} does not divide into {num_heads} heads: "
                "change one of them or give head_dim"
            )
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn1 = Attention(dim, num_heads, head_dim or dim // num_heads)
        self.norm3 = nn.LayerNorm(dim, eps=eps)
        self.ff = FeedForward(dim, mlp_dim or 4 * dim, activation)

    def forward(
        self,
        x: Float[Tensor, "batch tokens dim"],
        mask: Bool[Tensor, "#batch #heads #tokens keys"] | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "batch tokens dim"]:
        """Runs the block; `mask` is True where a query may look at a key."""
        x = x + self.attn1(self.norm1(x), mask, causal)
        return x + self.ff(self.norm3(x))


def run_blocks(
    blocks: nn.ModuleList | Sequence[TransformerBlock],
    x: Float[Tensor, "batch tokens dim"],
    *,
    mask: Bool[Tensor, "#batch #heads #tokens tokens"] | None = None,
    causal: bool = False,
) -> Float[Tensor, "batch tokens dim"]:
    """Runs all blocks over all tokens; `mask` is True where a query may look at a key."""
    if causal and mask is not None:
        mask, causal = causal_mask(x.shape[1], x.shape[1], mask, device=x.device), False
    for block in blocks:
        x = block(x, mask, causal)
    return x
