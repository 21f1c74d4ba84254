"""The stepper against one pass over all tokens with a mask."""

import pytest
import torch
from torch import Tensor, nn

from unclip.nn import packed
from unclip.nn.stepping import Stepper
from unclip.nn.transformer import TransformerBlock, run_blocks


def make_blocks(randomise, dtype: torch.dtype) -> nn.ModuleList:
    blocks = nn.ModuleList(TransformerBlock(24, 3, 8) for _ in range(3))
    randomise(blocks)
    return blocks.to(dtype)


def whole(blocks: nn.ModuleList, prefix: Tensor, step: Tensor, new: Tensor) -> Tensor:
    """The new tokens of one row, by the plain causal transformer."""
    x = torch.cat([prefix, step[None], new])[None]
    return run_blocks(blocks, x, causal=True)[0, -len(new) :]


def difference(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize(
    ("lengths", "copies", "tokens"),
    [
        ([1], [1], 1),
        ([5, 2], [1, 1], 2),
        ([3, 3, 7, 3], [2, 2, 2, 2], 2),
        ([4, 4, 9], [3, 1, 5], 3),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_row_and_step_equals_the_whole_sequence(
    randomise, lengths: list[int], copies: list[int], tokens: int, dtype: torch.dtype
) -> None:
    blocks = make_blocks(randomise, dtype)
    prefixes = [torch.randn(length, 24, dtype=dtype) for length in lengths]
    steps = torch.randn(4, 24, dtype=dtype)
    stepper = Stepper(blocks, prefixes, copies, steps, tokens=tokens)
    own = [prefix for prefix, count in zip(prefixes, copies, strict=True) for _ in range(count)]
    for index in (2, 0, 3, 3, 1):  # in no order, and one of them twice
        new = torch.randn(sum(copies), tokens, 24, dtype=dtype)
        stepper.enter(index)
        actual = stepper.run(new)
        for row, prefix in enumerate(own):
            expected = whole(blocks, prefix, steps[index], new[row])
            assert difference(actual[row], expected) <= (2e-6 if dtype == torch.float32 else 1e-14)


def test_without_onednn_it_is_the_same(randomise, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = make_blocks(randomise, torch.float32)
    prefixes, steps = [torch.randn(5, 24), torch.randn(3, 24)], torch.randn(2, 24)
    new = torch.randn(2, 2, 24)

    def run() -> Tensor:
        stepper = Stepper(blocks, prefixes, [1, 1], steps, tokens=2)
        stepper.enter(1)
        return stepper.run(new)

    fast = run()
    monkeypatch.setattr(packed, "unpacked_because", lambda dtype: "for the test")
    plain = run()
    assert difference(fast, plain) <= 2e-6


def test_weights_are_left_as_they_are(randomise) -> None:
    blocks = make_blocks(randomise, torch.float32)
    before = {name: tensor.clone() for name, tensor in blocks.state_dict().items()}
    stepper = Stepper(blocks, [torch.randn(4, 24)], [1], torch.randn(1, 24), tokens=2)
    stepper.enter(0)
    stepper.run(torch.randn(1, 2, 24))
    after = blocks.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
