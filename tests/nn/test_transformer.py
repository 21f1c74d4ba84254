import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

from unclip.errors import ConfigError
from unclip.nn.transformer import TransformerBlock, extend, prefill, quick_gelu, run_blocks


def make_blocks(randomise, dtype: torch.dtype = torch.float32) -> nn.ModuleList:
    blocks = nn.ModuleList(TransformerBlock(24, 3, 8) for _ in range(4))
    randomise(blocks)
    return blocks.to(dtype)


def padding(lengths: list[int], total: int) -> Tensor:
    return torch.arange(total) < torch.tensor(lengths)[:, None]


def difference(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize("head_dim", [8, 20])
@pytest.mark.parametrize(("lengths", "tokens"), [([1], 1), ([5, 2, 3], 7), ([6, 9], 9)])
def test_blocks_are_diffusers(randomise, head_dim: int, lengths: list[int], tokens: int) -> None:
    """The mask is PriorTransformer's: causal, and no padding is seen."""
    reference = nn.ModuleList(
        BasicTransformerBlock(24, 3, head_dim, activation_fn="gelu", attention_bias=True)
        for _ in range(3)
    ).eval()
    randomise(reference)
    blocks = nn.ModuleList(TransformerBlock(24, 3, head_dim) for _ in range(3)).eval()
    blocks.load_state_dict(reference.state_dict(), strict=True)

    x, mask = torch.randn(len(lengths), tokens, 24), padding(lengths, tokens)
    bias = (1 - mask.float())[:, None] * -10_000 + torch.full((tokens, tokens), -10_000.0).triu(1)
    expected = x
    for block in reference:
        expected = block(expected, attention_mask=bias.repeat_interleave(3, dim=0))
    actual = run_blocks(blocks, x, mask=mask[:, None, None], causal=True)
    assert expected.std() > 0.5
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("lengths", "prefix", "tokens"), [([1], 1, 1), ([4, 2, 7], 7, 3), ([9, 5], 12, 1), ([6], 6, 5)]
)
def test_a_cached_prefix_changes_nothing(
    randomise, dtype: torch.dtype, lengths: list[int], prefix: int, tokens: int
) -> None:
    blocks = make_blocks(randomise, dtype)
    x = torch.randn(len(lengths), prefix + tokens, 24, dtype=dtype)
    mask = padding(lengths, prefix)
    whole = nn.functional.pad(mask, (0, tokens), value=True)[:, None, None]
    expected = run_blocks(blocks, x, mask=whole, causal=True)[:, prefix:]

    cache = prefill(blocks, x[:, :prefix], mask=mask)
    actual = extend(blocks, x[:, prefix:], cache, prefix_mask=mask)
    assert difference(actual, expected) <= (1e-6 if dtype == torch.float32 else 1e-14)


def test_no_mask_is_a_mask_of_all(randomise) -> None:
    blocks, x = make_blocks(randomise, torch.float64), torch.randn(2, 8, 24, dtype=torch.float64)
    expected = run_blocks(blocks, x, causal=True)
    actual = extend(blocks, x[:, 6:], prefill(blocks, x[:, :6], mask=None), prefix_mask=None)
    assert difference(actual, expected[:, 6:]) <= 1e-14

    ones = torch.ones(2, 6, dtype=torch.bool)
    actual = extend(blocks, x[:, 6:], prefill(blocks, x[:, :6], mask=ones), prefix_mask=ones)
    assert difference(actual, expected[:, 6:]) <= 1e-14


def test_padding_and_later_tokens_are_not_seen(randomise) -> None:
    blocks, x = make_blocks(randomise), torch.randn(1, 9, 24)
    mask = padding([4], 6)
    changed = x.clone()
    changed[:, 4:6] = torch.randn(2, 24)  # padding
    changed[:, 8] = torch.randn(24)  # later than token 7
    outputs = [
        extend(blocks, y[:, 6:], prefill(blocks, y[:, :6], mask=mask), prefix_mask=mask)
        for y in (x, changed)
    ]
    assert torch.equal(outputs[0][:, :2], outputs[1][:, :2])
    assert not torch.equal(outputs[0][:, 2], outputs[1][:, 2])


def test_attention_without_causality_sees_all(randomise) -> None:
    blocks, x = make_blocks(randomise), torch.randn(1, 5, 24)
    changed = x.clone()
    changed[:, 4] = torch.randn(24)
    assert (run_blocks(blocks, x) - run_blocks(blocks, changed))[:, 0].abs().max() > 1e-3


def test_the_last_block_of_a_prefix_is_not_run(randomise) -> None:
    blocks, calls = make_blocks(randomise), []
    for block in blocks:
        block.register_forward_hook(lambda *_: calls.append(1))
    assert len(prefill(blocks, torch.randn(1, 3, 24), mask=None)) == len(blocks)
    assert len(calls) == len(blocks) - 1


def test_quick_gelu_is_openais(randomise) -> None:
    x = torch.linspace(-4, 4, 9)
    torch.testing.assert_close(quick_gelu(x), x / (1 + torch.exp(-1.702 * x)))
    exact, quick = TransformerBlock(24, 3), TransformerBlock(24, 3, activation="quick_gelu")
    randomise(exact)
    quick.load_state_dict(exact.state_dict(), strict=True)
    y = torch.randn(1, 2, 24)
    assert 1e-4 < (exact(y)[0] - quick(y)[0]).abs().max() < 0.2


def test_widths(randomise) -> None:
    block = TransformerBlock(24, 2, head_dim=5, mlp_dim=7)
    tensors = block.state_dict()
    assert tensors["attn1.to_q.weight"].shape == (10, 24)
    assert tensors["attn1.to_out.0.weight"].shape == (24, 10)
    assert tensors["ff.net.0.proj.weight"].shape == (7, 24)
    with pytest.raises(ConfigError, match="width 24 does not divide into 5 heads"):
        TransformerBlock(24, 5)
