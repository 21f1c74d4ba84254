"""The fast path of a CPU against the network itself in float64."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from unclip.nn import packed
from unclip.nn.fast import fast
from unclip.nn.unet import UNet, UNetConfig

DECODER = UNetConfig(
    out_channels=6,
    channels=(16, 32, 48),
    depth=2,
    attention=(False, True, True),
    head_dim=8,
    context_dim=20,
    groups=8,
)
UPSAMPLER = UNetConfig(
    in_channels=6, channels=(12, 24), depth=1, attention=(False, False), scale_shift=False, groups=4
)
POCKET = UNetConfig(
    in_channels=6,
    extra_channels=2,
    channels=(8, 16),
    depth=1,
    attention=(False, True),
    head_dim=8,
    groups=4,
    unshuffle=2,
    refine_channels=3,
)
CASES = {"decoder": DECODER, "upsampler": UPSAMPLER, "pocket": POCKET}
TOKENS = 9

Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]


def make(config: UNetConfig, randomise: Callable) -> UNet:
    unet = UNet(config).eval()
    randomise(unet)
    return unet


def inputs(config: UNetConfig, batch: int, size: tuple[int, int]) -> Inputs:
    """A picture, the condition of each row, tokens, their mask, and extra channels."""
    x = torch.randn(batch, config.in_channels, *size)
    embed = torch.randn(batch, config.temb_dim)
    lengths = torch.tensor([4, 4, 1, TOKENS])[:batch, None]
    extra = torch.randn(batch, 2, *size) if config.extra_channels else None
    return x, embed, torch.randn(batch, TOKENS, 20), torch.arange(TOKENS) < lengths, extra


def expected(unet: UNet, given: Inputs, t: int) -> Tensor:
    """Row by row in float64 with a mask, nothing prepared together."""
    precise = UNet(unet.config).double().eval()
    precise.load_state_dict(unet.state_dict())
    x, embed, tokens, mask, extra = given
    rows = []
    for i in range(len(x)):
        row = slice(i, i + 1)
        modulations = precise.modulations(torch.tensor([t]), embed[row].double())
        context = None
        if unet.config.context_dim is not None:
            context = precise.context(tokens[row].double(), mask[row])
        more = None if extra is None else extra[row].double()
        rows.append(precise(x[row].double(), modulations, context, more))
    return torch.cat(rows)


def actual(unet: UNet, given: Inputs, t: int, dtype: torch.dtype) -> Tensor:
    """As a sampler runs it, twice, at two times and for all rows and then the first."""
    unet = unet.to(dtype)
    x, embed, tokens, mask, extra = given
    x, embed, tokens = x.to(dtype), embed.to(dtype), tokens.to(dtype)
    extra = None if extra is None else extra.to(dtype)
    steps = unet.modulations_of_steps([999, t], embed)
    context = None
    if unet.config.context_dim is not None:
        context = unet.context(tokens, mask).sliced()
    before = x.clone()
    with torch.inference_mode(), fast(unet) as run:
        run(x, steps[999], context, extra)
        first = context if context is None else context.first(1)
        run(x[:1], tuple(m[:1] for m in steps[t]), first, None if extra is None else extra[:1])
        out = run(x, steps[t], context, extra)
    assert torch.equal(x, before)
    return out


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("size", [(16, 16), (8, 28)])
def test_it_equals_the_network_in_float32(
    randomise, case: str, batch: int, size: tuple[int, int]
) -> None:
    unet = make(CASES[case], randomise)
    given = inputs(unet.config, batch, size)
    wanted = expected(unet, given, 500)
    assert wanted.std() > 0.1
    found = actual(unet, given, 500, torch.float32)
    assert (found.double() - wanted).abs().max() <= 2e-5 * float(wanted.abs().max())


@pytest.mark.parametrize("case", CASES)
def test_bfloat16_is_close(randomise, case: str) -> None:
    unet = make(CASES[case], randomise)
    given = inputs(unet.config, 3, (16, 16))
    wanted = expected(unet, given, 500)
    found = actual(unet, given, 500, torch.bfloat16)
    assert found.dtype == torch.bfloat16
    error = (found.double() - wanted).square().mean()
    spread = float(wanted.max() - wanted.min())
    assert 10 * torch.log10(spread**2 / error) > 30


@pytest.mark.parametrize("case", CASES)
def test_without_onednn_it_is_the_same(
    randomise, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    unet = make(CASES[case], randomise)
    given = inputs(unet.config, 3, (16, 16))
    monkeypatch.setattr(packed, "unpacked_because", lambda dtype: "for the test")
    wanted = expected(unet, given, 20)
    found = actual(unet, given, 20, torch.float32)
    assert (found.double() - wanted).abs().max() <= 2e-5 * float(wanted.abs().max())


def test_one_modulation_serves_all_rows(randomise) -> None:
    for scale_shift in (False, True):
        unet = make(replace(UPSAMPLER, scale_shift=scale_shift), randomise)
        x, one = torch.randn(3, 6, 8, 8), unet.modulations_of_steps([7], None)[7]
        each = unet.modulations(torch.full((3,), 7), None)
        wanted = unet(x, each)
        assert [len(m) for m in one] == [1] * len(one)
        with torch.inference_mode(), fast(unet) as run:
            torch.testing.assert_close(run(x, one), wanted, rtol=0, atol=1e-4)
            torch.testing.assert_close(run(x, each), wanted, rtol=0, atol=1e-4)
        torch.testing.assert_close(unet(x, one), wanted, rtol=0, atol=1e-5)


def test_all_steps_are_prepared_as_each_is(randomise) -> None:
    for config, rows in ((DECODER, 3), (UPSAMPLER, 1)):
        unet = make(config, randomise)
        embed = torch.randn(rows, config.temb_dim)
        steps = unet.modulations_of_steps([999, 40, 0], embed)
        assert list(steps) == [999, 40, 0]
        for t, found in steps.items():
            wanted = unet.modulations(torch.full((rows,), t), embed)
            for a, b in zip(found, wanted, strict=True):
                torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_weights_are_left_as_they_are_and_hooks_are_called(randomise) -> None:
    unet = make(UPSAMPLER, randomise)
    before = {name: (t.clone(), t.data_ptr()) for name, t in unet.state_dict().items()}
    answers = []
    unet.register_forward_hook(lambda _m, _i, output: answers.append(output))
    steps = unet.modulations_of_steps([3], None)
    with torch.inference_mode(), fast(unet) as run:
        out = run(torch.randn(1, 6, 8, 8), steps[3])
        assert answers[0] is out
    for name, tensor in unet.state_dict().items():
        assert torch.equal(tensor, before[name][0])
        assert tensor.data_ptr() == before[name][1]
        assert tensor.is_contiguous()


def test_what_cannot_be_packed_says_why() -> None:
    assert packed.unpacked_because(torch.float64) == "oneDNN has no kernels for float64"


def test_valid_tokens_that_are_not_the_first_are_put_there(randomise) -> None:
    unet = make(replace(DECODER, channels=(16, 32), attention=(False, True)), randomise)
    x, tokens = torch.randn(2, 3, 8, 8), torch.randn(2, 5, 20)
    mask = torch.tensor([[0, 1, 0, 1, 1], [1, 0, 0, 0, 0]]).bool()
    modulations = unet.modulations(torch.tensor([5, 5]), None)
    context = unet.context(tokens, mask)
    sliced = context.sliced()
    assert (sliced.mask, sliced.lengths) == (None, (3, 1))
    assert sliced.keys_values[0].key.shape[2] == 3
    wanted = unet(x, modulations, context)
    torch.testing.assert_close(unet(x, modulations, sliced), wanted, rtol=0, atol=1e-5)
