"""All attention goes through `attend`: PyTorch's fused kernels, or xformers when asked for."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from unclip.errors import BackendError

BACKENDS = ("sdpa", "xformers")

# One setting for the process and not one for each thread: a server's workers must not silently
# fall back to the default.
_backend = "sdpa"


def set_attention_backend(name: str) -> None:
    """Chooses the kernels of every later `attend` in this process.

    Raises:
        BackendError: the name is unknown, or xformers is not installed or not usable here.
    """
    global _backend
    if name not in BACKENDS:
        raise BackendError(f"attention backend {name!r} is unknown: choose {' or '.join(BACKENDS)}")
    if name == "xformers":
        _check_xformers()
    _backend = name


def current_attention_backend() -> str:
    """Names the kernels that `attend` uses now."""
    return _backend


@contextmanager
def attention_backend(name: str) -> Iterator[None]:
    """Chooses the kernels within a `with` block; raises as `set_attention_backend`."""
    global _backend
    before = _backend
    set_attention_backend(name)
    try:
        yield
    finally:
        _backend = before


def attend(
    q: Float[Tensor, "batch heads tokens head_dim"],
    k: Float[Tensor, "batch heads keys head_dim"],
    v: Float[Tensor, "batch heads keys head_dim"],
    mask: Bool[Tensor, "#batch #heads #tokens #keys"] | None = None,
    causal: bool = False,
) -> Float[Tensor, "batch heads tokens head_dim"]:
    """Computes softmax(q k^T / sqrt(head_dim)) v.

    Args:
        mask: True where a query may look at a key; None means everywhere. A query that may look
            nowhere gets zeros.
        causal: the queries are the last of the keys' tokens, and each sees the keys up to its own,
            besides what `mask` allows.
    """
    tokens, keys = q.shape[2], k.shape[2]
    if causal and (mask is not None or tokens != keys):
        mask, causal = causal_mask(tokens, keys, mask, device=q.device), False
    if _backend == "xformers":
        if not q.is_cuda:
            raise BackendError(
                f"attention backend xformers got tensors on {q.device.type}, it needs CUDA: "
                "choose sdpa"
            )
        return _attend_xformers(q, k, v, mask, causal)
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.requires_grad:
        # PyTorch's CPU kernel runs backwards five times slower in bfloat16 than in float32
        # (benchmarks/cpu_training.py).
        with torch.autocast("cpu", enabled=False):
            q, k, v = q.float(), k.float(), v.float()
            out = scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return out.to(torch.bfloat16)
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)


def causal_mask(
    tokens: int,
    keys: int,
    mask: Bool[Tensor, "batch #heads #tokens keys"] | None = None,
    *,
    device: torch.device,
) -> Bool[Tensor, "batch #heads tokens keys"]:
    """Joins `mask` and the rule that the last `tokens` of `keys` tokens see none after them."""
    allowed = torch.ones(tokens, keys, dtype=torch.bool, device=device).tril(keys - tokens)
    return allowed[None, None] if mask is None else mask & allowed


def _check_xformers() -> None:
    try:
        from xformers import ops  # pyright: ignore[reportMissingImports]  # an optional extra
    except ImportError as error:
        raise BackendError(
            f"attention backend xformers cannot be imported ({_first_line(error)}): "
            "pip install xformers, or choose sdpa"
        ) from error
    if not torch.cuda.is_available():
        raise BackendError(
            "attention backend xformers needs a CUDA device and there is none: choose sdpa"
        )
    # An xformers built for another torch or GPU imports well and has no kernels.
    probe = torch.zeros(1, 8, 1, 64, dtype=torch.float16, device="cuda")
    try:
        ops.memory_efficient_attention(probe, probe, probe)
    except (NotImplementedError, RuntimeError) as error:
        raise BackendError(
            f"attention backend xformers has no kernel for this device ({_first_line(error)}): "
            "choose sdpa"
        ) from error


def _attend_xformers(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    from xformers import ops  # pyright: ignore[reportMissingImports]  # an optional extra

    bias = None
    if causal:
        bias = ops.LowerTriangularMask()
    elif mask is not None:
        # Its kernels want rows that begin at multiples of eight elements.
        keys = k.shape[2]
        bias = q.new_zeros(*q.shape[:3], keys + -keys % 8)[..., :keys]
        bias = bias.masked_fill_(~mask, float("-inf"))

    # xformers lays tokens before heads.
    out = ops.memory_efficient_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_bias=bias
    ).transpose(1, 2)
    if mask is not None:
        # A row of nothing but -inf gives NaN there and zeros in PyTorch.
        out = out.masked_fill(~mask.any(dim=-1, keepdim=True), 0.0)
    return out


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
