"""Attention goes through one function, `attend`: PyTorch's fused kernels, or xformers when asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from unclip.errors import BackendError

AttentionBackend = Literal["sdpa", "xformers"]

_backend: ContextVar[AttentionBackend] = ContextVar("attention_backend", default="sdpa")


def set_attention_backend(name: str) -> None:
    """Chooses the kernels of every later `attend` in this context.

    Raises:
        BackendError: the name is unknown, or xformers is not installed or not usable here.
    """
    if name not in ("sdpa", "xformers"):
        raise BackendError(f"attention backend {name!r} is unknown: choose sdpa or xformers")
    if name == "xformers":
        _check_xformers()
    _backend.set(name)


@contextmanager
def attention_backend(name: str) -> Iterator[None]:
    """Chooses the kernels within a `with` block; raises as `set_attention_backend`."""
    token = _backend.set(_backend.get())
    try:
        set_attention_backend(name)
        yield
    finally:
        _backend.reset(token)


def _check_xformers() -> None:
    if find_spec("xformers") is None:
        raise BackendError(
            "attention backend xformers is not installed: pip install 'unclip[xformers]', or use sdpa"
        )
    if not torch.cuda.is_available():
        raise BackendError(
            "attention backend xformers needs a CUDA device and none is available: use sdpa"
        )


def attend(
    q: Float[Tensor, "batch heads tokens head_dim"],
    k: Float[Tensor, "batch heads keys head_dim"],
    v: Float[Tensor, "batch heads keys head_dim"],
    mask: Bool[Tensor, "#batch #heads #tokens #keys"] | None = None,
    causal: bool = False,
) -> Float[Tensor, "batch heads tokens head_dim"]:
    """Computes softmax(q k^T / sqrt(head_dim)) v.

    Args:
        mask: True where a query may look at a key; None means everywhere.
        causal: query i sees keys up to i + (keys - tokens), besides what `mask` allows: the last
            query sees all keys, so that queries may continue cached keys.
    """
    tokens, keys = q.shape[2], k.shape[2]
    if causal and (mask is not None or tokens != keys):
        allowed = torch.ones(tokens, keys, dtype=torch.bool, device=q.device).tril(keys - tokens)
        mask = allowed[None, None] if mask is None else mask & allowed
        causal = False
    if _backend.get() == "xformers":
        return _attend_xformers(q, k, v, mask, causal)
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)


def _attend_xformers(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool
) -> Tensor:
    from xformers import ops  # pyright: ignore[reportMissingImports]  # optional extra

    bias = None
    if causal:
        bias = ops.LowerTriangularMask()
    elif mask is not None:
        shape = (*q.shape[:3], k.shape[2])
        bias = torch.zeros(shape, dtype=q.dtype, device=q.device)
        bias = bias.masked_fill(~mask, float("-inf"))
    # xformers lays tokens before heads.
    out = ops.memory_efficient_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_bias=bias
    )
    return out.transpose(1, 2)
