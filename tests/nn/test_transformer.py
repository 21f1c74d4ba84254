import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

from unclip.errors import ConfigError
from unclip.nn.transformer import TransformerBlock, quick_gelu, run_blocks


def make_blocks(randomise) -> nn.ModuleList:
    blocks = nn.ModuleList(TransformerBlock(24, 3, 8) for _ in range(4))
    randomise(blocks)
    return blocks


def padding(lengths: list[int], total: int) -> Tensor:
    return torch.arange(total) < torch.tensor(lengths)[:, None]


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


def test_attention_without_causality_sees_all(randomise) -> None:
    blocks, x = make_blocks(randomise), torch.randn(1, 5, 24)
    changed = x.clone()
    changed[:, 4] = torch.randn(24)
    assert (run_blocks(blocks, x) - run_blocks(blocks, changed))[:, 0].abs().max() > 1e-3


def test_quick_gelu_is_openais(randomise) -> None:
    x = torch.linspace(-4, 4, 9)
    torch.testing.assert_close(quick_gelu(x), x / (1 + torch.exp(-1.702 * x)))
    exact, quick = TransformerBlock(24, 3), TransformerBlock(24, 3, activation="quick_gelu")
    randomise(exact)
    quick.load_state_dict(exact.state_dict(), strict=True)
    y = torch.randn(1, 2, 24)
    assert 1e-4 < (exact(y) - quick(y)).abs().max() < 0.2


def test_widths(randomise) -> None:
    block = TransformerBlock(24, 2, head_dim=5, mlp_dim=7)
    tensors = block.state_dict()
    assert tensors["attn1.to_q.weight"].shape == (10, 24)
    assert tensors["attn1.to_out.0.weight"].shape == (24, 10)
    assert tensors["ff.net.0.proj.weight"].shape == (7, 24)
    with pytest.raises(ConfigError, match="width 24 does not divide into 5 heads"):
        TransformerBlock(24, 5)
