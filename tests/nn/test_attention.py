import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor

from unclip.errors import BackendError
from unclip.nn import attention
from unclip.nn.attention import attend, attention_backend, causal_mask, set_attention_backend


def closed_form(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None = None) -> Tensor:
    scores = torch.einsum("bhnd,bhmd->bhnm", q.double(), k.double()) / q.shape[-1] ** 0.5
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float("-inf"))
    return torch.einsum("bhnm,bhmd->bhnd", scores.softmax(-1), v.double()).float()


def random_qkv(tokens: int, keys: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(tokens * 100 + keys)
    shapes = [(2, 3, tokens, 8), (2, 3, keys, 8), (2, 3, keys, 8)]
    q, k, v = (torch.randn(shape, generator=generator) for shape in shapes)
    return q, k, v


@pytest.mark.parametrize(("tokens", "keys"), [(1, 1), (4, 7), (9, 9)])
def test_attend_is_the_closed_form(tokens: int, keys: int) -> None:
    q, k, v = random_qkv(tokens, keys)
    torch.testing.assert_close(attend(q, k, v), closed_form(q, k, v), rtol=0, atol=1e-6)

    mask = torch.rand(2, 1, 1, keys) > 0.5
    mask[..., 0] = True
    expected = closed_form(q, k, v, mask)
    torch.testing.assert_close(attend(q, k, v, mask), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("tokens", "keys"), [(1, 5), (3, 8), (6, 6)])
@pytest.mark.parametrize("masked", [False, True])
def test_causal_queries_are_the_last_tokens(tokens: int, keys: int, masked: bool) -> None:
    q, k, v = random_qkv(tokens, keys)
    position = torch.arange(keys)
    allowed = position[None, :] <= position[keys - tokens :, None]
    mask = None
    if masked:
        mask = torch.rand(2, 1, 1, keys) > 0.5
        mask[..., 0] = True
        allowed = mask & allowed
    expected = closed_form(q, k, v, allowed)
    torch.testing.assert_close(attend(q, k, v, mask, causal=True), expected, rtol=0, atol=1e-6)


def test_a_query_that_sees_nothing_gets_zeros() -> None:
    q, k, v = random_qkv(4, 6)
    mask = torch.ones(2, 1, 4, 6, dtype=torch.bool)
    mask[1, :, 2] = False
    out = attend(q, k, v, mask)
    assert torch.equal(out[1, :, 2], torch.zeros(3, 8))
    assert out.isfinite().all()


def test_an_unknown_backend_is_an_error() -> None:
    with pytest.raises(BackendError, match="'flash3' is unknown: choose sdpa or xformers"):
        set_attention_backend("flash3")
    with pytest.raises(BackendError, match="unknown"), attention_backend("SDPA"):
        pass


def test_xformers_that_is_not_installed_is_an_error(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "xformers", None)
    with pytest.raises(BackendError, match=r"cannot be imported .*pip install xformers"):
        set_attention_backend("xformers")
    with pytest.raises(BackendError), attention_backend("xformers"):
        pass
    q, k, v = random_qkv(3, 3)
    torch.testing.assert_close(attend(q, k, v), closed_form(q, k, v))


@pytest.fixture
def fake_xformers(monkeypatch) -> ModuleType:
    """An xformers whose kernel is the closed form, in place of the accelerator it needs."""

    def memory_efficient_attention(
        q: Tensor, k: Tensor, v: Tensor, attn_bias: object = None
    ) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        bias = torch.zeros(q.shape[2], k.shape[2])
        if isinstance(attn_bias, Tensor):
            assert attn_bias.shape == (*q.shape[:3], k.shape[2])
            assert attn_bias.stride(-2) % 8 == 0
            bias = attn_bias
        elif attn_bias is not None:
            bias = torch.full_like(bias, float("-inf")).triu(1)
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + bias
        return (scores.softmax(-1) @ v).transpose(1, 2)

    package, ops = ModuleType("xformers"), ModuleType("xformers.ops")
    ops.memory_efficient_attention = memory_efficient_attention  # pyright: ignore[reportAttributeAccessIssue]
    ops.LowerTriangularMask = object  # pyright: ignore[reportAttributeAccessIssue]
    package.ops = ops  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "xformers", package)
    monkeypatch.setitem(sys.modules, "xformers.ops", ops)
    return ops


def test_xformers_without_cuda_is_an_error(monkeypatch, fake_xformers) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BackendError, match="needs a CUDA device and there is none: choose sdpa"):
        set_attention_backend("xformers")


def test_xformers_without_a_kernel_is_an_error(monkeypatch, fake_xformers) -> None:
    def no_kernel(*_: Tensor) -> Tensor:
        raise NotImplementedError("No operator found for this\nand many lines more")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", lambda *shape, **_: torch.ones(shape))
    monkeypatch.setattr(fake_xformers, "memory_efficient_attention", no_kernel)
    with pytest.raises(BackendError, match=r"\(No operator found for this\): choose sdpa") as error:
        set_attention_backend("xformers")
    assert "\n" not in str(error.value)


def test_the_backend_is_put_back_and_never_changed_in_silence(monkeypatch, fake_xformers) -> None:
    monkeypatch.setattr(attention, "_check_xformers", lambda: None)
    q, k, v = random_qkv(2, 2)
    with attention_backend("xformers"):
        with pytest.raises(BackendError, match="got tensors on cpu, it needs CUDA"):
            attend(q, k, v)
        with attention_backend("sdpa"):
            attend(q, k, v)
        with pytest.raises(BackendError, match="got tensors on cpu"):
            attend(q, k, v)
    attend(q, k, v)


@pytest.mark.parametrize("kind", ["plain", "mask", "causal", "causal mask", "empty row"])
def test_xformers_is_asked_for_the_same(kind: str, fake_xformers) -> None:
    q, k, v = random_qkv(5, 5)
    mask = None
    if "mask" in kind:
        mask = torch.tensor([True, True, False, True, False]).expand(2, 1, 1, 5)
    if kind == "causal mask":
        mask = causal_mask(5, 5, mask, device=q.device)
    if kind == "empty row":
        mask = torch.ones(2, 1, 5, 5, dtype=torch.bool)
        mask[0, 0, 3] = False
    causal = kind == "causal"
    asked = attention._attend_xformers(q, k, v, mask, causal)
    torch.testing.assert_close(asked, attend(q, k, v, mask, causal), rtol=0, atol=1e-6)


@torch.enable_grad()
def test_training_in_bfloat16_on_a_cpu_keeps_dtype_and_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    exact = [torch.randn(2, 3, 5, 8, generator=generator, requires_grad=True) for _ in range(3)]
    rounded = [x.detach().bfloat16().requires_grad_() for x in exact]
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])[:, None, None]
    q, k, v = exact
    attend(q, k, v, mask).square().sum().backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = attend(rounded[0], rounded[1], rounded[2], mask)
    out.square().sum().backward()
    assert out.dtype == torch.bfloat16
    for ours, reference in zip(rounded, exact, strict=True):
        assert ours.grad is not None
        assert reference.grad is not None
        assert ours.grad.dtype == torch.bfloat16
        error = (ours.grad.float() - reference.grad).norm() / reference.grad.norm()
        assert error < 0.03
