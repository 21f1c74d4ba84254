import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from unclip.errors import ConfigError, InputError
from unclip.nn.unet import Context, UNet, UNetConfig

SMALL = UNetConfig(
    channels=(16, 24), depth=1, attention=(False, True), head_dim=8, context_dim=12, groups=4
)
CONVOLUTIONAL = replace(SMALL, channels=(8, 16, 16), attention=(False,) * 3, context_dim=None)


def make(config: UNetConfig, randomise) -> UNet:
    unet = UNet(config).eval()
    randomise(unet)
    return unet


def run(unet: UNet, x: Tensor, extra: Tensor | None = None) -> Tensor:
    """Runs at time 500 with five context tokens that are the same in every row."""
    config = unet.config
    modulations = unet.modulations(torch.full((len(x),), 500), None)
    context = None
    if config.context_dim is not None:
        tokens = torch.linspace(-1, 1, 5 * config.context_dim).view(1, 5, -1)
        context = unet.context(tokens.repeat(len(x), 1, 1))
    return unet(x, modulations, context, extra)


def test_a_network_begins_by_answering_zero() -> None:
    x = torch.randn(2, 3, 8, 8)
    for config in (SMALL, CONVOLUTIONAL, replace(CONVOLUTIONAL, unshuffle=2, refine_channels=4)):
        unet = UNet(config)
        if config.unshuffle == 2:
            x = torch.randn(2, 3, 16, 16)
        assert torch.equal(run(unet, x), torch.zeros_like(x))


def test_what_is_added_to_the_stream_begins_at_zero() -> None:
    zeroed = {
        name.removesuffix(".weight")
        for name, parameter in UNet(SMALL).named_parameters()
        if name.endswith("weight") and not parameter.any()
    }
    unet = UNet(SMALL)
    expected = {name for name, _ in unet.named_modules() if name.endswith(("conv2", "to_out.0"))}
    assert zeroed == expected | {"conv_out"}


def test_gradients_reach_every_parameter(randomise) -> None:
    config = replace(SMALL, extra_channels=2, positions=8, unshuffle=2, refine_channels=3)
    unet = make(config, randomise)
    with torch.enable_grad():
        out = run(unet, torch.randn(2, 3, 16, 16), torch.randn(2, 2, 16, 16))
        out.square().mean().backward()
    silent = [
        name for name, p in unet.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0
    ]
    assert silent == []


def test_rows_are_independent_and_times_differ(randomise) -> None:
    unet = make(SMALL, randomise)
    x, t, embed = torch.randn(3, 3, 8, 8), torch.tensor([0, 10, 999]), torch.randn(3, 64)
    tokens = torch.randn(3, 5, 12)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 1, 0, 0]]).bool()
    together = unet(x, unet.modulations(t, embed), unet.context(tokens, mask))
    for row in range(3):
        one = slice(row, row + 1)
        context = unet.context(tokens[one, : mask[row].sum()])
        alone = unet(x[one], unet.modulations(t[one], embed[one]), context)
        torch.testing.assert_close(alone, together[one], rtol=0, atol=1e-5)
    same = unet(x, unet.modulations(t.flip(0), embed), unet.context(tokens, mask))
    assert (same - together)[0].abs().max() > 1e-3


def test_one_modulation_for_each_residual_block() -> None:
    unet = UNet(SMALL)
    widths = [2 * width for width in (16, 16, 24, 24, 24, 24, 24, 24, 16, 16)]
    modulations = unet.modulations(torch.tensor([3]), None)
    assert [tuple(m.shape) for m in modulations] == [(1, width) for width in widths]
    # Prepared for all steps at once or step by step, they are the same.
    both = unet.modulations(torch.tensor([3, 7]), None)
    for one, two in zip(modulations, both, strict=True):
        torch.testing.assert_close(one[0], two[0])


def test_masked_tokens_are_not_seen(randomise) -> None:
    unet = make(SMALL, randomise)
    x, tokens = torch.randn(1, 3, 8, 8), torch.randn(1, 5, 12)
    modulations = unet.modulations(torch.tensor([3]), None)
    changed = tokens.clone()
    changed[:, 3:] = torch.randn(2, 12)
    mask = torch.tensor([[True, True, True, False, False]])
    seen, hidden, all_seen = (
        unet(x, modulations, unet.context(t, m))
        for t, m in ((tokens, mask), (changed, mask), (changed, None))
    )
    assert torch.equal(seen, hidden)
    assert (seen - all_seen).abs().max() > 1e-3

    everything = unet(x, modulations, unet.context(changed, torch.ones(1, 5, dtype=torch.bool)))
    torch.testing.assert_close(everything, all_seen, rtol=0, atol=1e-5)


def test_attention_without_context(randomise) -> None:
    unet = make(replace(SMALL, context_dim=None), randomise)
    names = set(unet.state_dict())
    assert "mid_block.attentions.0.to_q.weight" in names
    assert not [name for name in names if "add_" in name]
    x = torch.randn(1, 3, 8, 8)
    far = x.clone()
    far[..., -1, -1] += 1
    assert (run(unet, x) - run(unet, far))[..., 0, 0].abs().max() > 1e-6


def test_new_inputs_begin_without_effect(randomise) -> None:
    x, extra = torch.randn(2, 3, 16, 16), torch.randn(2, 4, 16, 16)
    for unshuffle in (1, 2):
        plain = make(replace(SMALL, unshuffle=unshuffle), randomise)
        grown = UNet(replace(plain.config, extra_channels=4)).eval()
        missing = grown.load_state_dict(plain.state_dict(), strict=False)
        assert missing == (["conv_extra.weight"], [])

        expected = run(plain, x)
        assert torch.equal(run(grown, x, extra), expected)
        assert torch.equal(run(grown, x), expected)

        # Once trained they count, and none is the same as zeros.
        torch.nn.init.normal_(grown.conv_extra.weight)
        assert (run(grown, x, extra) - expected).abs().max() > 1e-2
        torch.testing.assert_close(run(grown, x), run(grown, x, torch.zeros_like(extra)))


def test_unshuffled_network_is_the_plain_one_on_squares(randomise) -> None:
    unet = make(replace(CONVOLUTIONAL, unshuffle=2), randomise)
    inside = UNet(replace(CONVOLUTIONAL, in_channels=12, out_channels=12)).eval()
    inside.load_state_dict(unet.state_dict(), strict=True)
    x = torch.randn(2, 3, 16, 24)
    assert torch.equal(run(unet, x), pixel_shuffle(run(inside, pixel_unshuffle(x, 2)), 2))


def test_refinement_reads_the_shuffled_answer_and_the_input(randomise) -> None:
    unet = make(replace(CONVOLUTIONAL, unshuffle=2, refine_channels=5), randomise)
    inside = UNet(replace(CONVOLUTIONAL, unshuffle=2, out_channels=5)).eval()
    tensors = unet.state_dict()
    weight, bias = tensors.pop("conv_refine.weight"), tensors.pop("conv_refine.bias")
    inside.load_state_dict(tensors, strict=True)
    x = torch.randn(2, 3, 16, 24)
    read = torch.cat([torch.nn.functional.silu(run(inside, x)), x], dim=1)
    expected = torch.nn.functional.conv2d(read, weight, bias, padding=1)
    assert torch.equal(run(unet, x), expected)


def test_positions_are_added_to_the_first_features(randomise) -> None:
    config = replace(SMALL, unshuffle=2)
    unet = make(replace(config, positions=4), randomise)
    inside = UNet(config).eval()
    tensors = unet.state_dict()
    positions = tensors.pop("row_embedding") + tensors.pop("column_embedding")
    inside.load_state_dict(tensors, strict=True)
    x = torch.randn(2, 3, 8, 8)
    hook = inside.conv_in.register_forward_hook(lambda *got: got[2] + positions)
    expected = run(inside, x)
    hook.remove()
    assert torch.equal(run(unet, x), expected)
    assert not torch.allclose(run(inside, x), expected)
    with pytest.raises(InputError, match="16x8 pixels, but this network knows the posi"):
        run(unet, torch.randn(1, 3, 8, 16))
    fresh = UNet(replace(config, positions=4))
    assert not fresh.row_embedding.any()
    assert not fresh.column_embedding.any()


def test_convolutional_network_runs_at_any_size(randomise) -> None:
    unet = make(CONVOLUTIONAL, randomise)
    for size in ((4, 4), (8, 20), (32, 12)):
        assert run(unet, torch.randn(2, 3, *size)).shape == (2, 3, *size)


def test_dropout_only_in_training_and_only_when_configured(randomise) -> None:
    x = torch.randn(1, 3, 8, 8)
    for share in (0.0, 0.1):
        unet = make(replace(SMALL, dropout=share), randomise)
        evaluated = run(unet, x)
        assert torch.equal(run(unet.train(), x), evaluated) == (share == 0.0)


@pytest.mark.parametrize("change", [{}, {"unshuffle": 2, "refine_channels": 4}])
def test_channels_last_stays_channels_last(randomise, change: dict[str, int]) -> None:
    unet = make(replace(SMALL, **change), randomise)
    x = torch.randn(2, 3, 16, 16)
    expected = run(unet, x)

    inputs: list[Tensor] = []
    last = unet.to(memory_format=torch.channels_last)
    for module in last.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    actual = run(last, x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)
    assert inputs
    assert all(i.is_contiguous(memory_format=torch.channels_last) for i in inputs)


def test_lower_precision_runs_near_float32(randomise) -> None:
    unet = make(SMALL, randomise)
    x = torch.randn(2, 3, 8, 8)
    expected = run(unet, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = run(unet, x).float()
    assert (mixed - expected).abs().max() < 0.1 * expected.abs().max()

    lowered = unet.to(torch.bfloat16)
    modulations = lowered.modulations(torch.full((2,), 500), None)
    assert modulations[0].dtype == torch.bfloat16
    tokens = torch.linspace(-1, 1, 60, dtype=torch.bfloat16).view(1, 5, 12).repeat(2, 1, 1)
    low = lowered(x.bfloat16(), modulations, lowered.context(tokens))
    assert low.dtype == torch.bfloat16
    assert (low.float() - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 3, 9, 8), "8x9 pixels, but this network takes multiples of 2: resize or pad it"),
        ((1, 3, 8, 7), "7x8 pixels"),
        ((1, 6, 8, 8), "has 6 channels, but this network takes 3"),
    ],
)
def test_a_wrong_picture_is_a_one_line_error(shape: tuple[int, ...], expected: str) -> None:
    with pytest.raises(InputError, match=expected) as error:
        run(UNet(SMALL), torch.randn(shape))
    assert "\n" not in str(error.value)


def test_sizes_are_multiples_of_levels_and_squares() -> None:
    unet = UNet(replace(CONVOLUTIONAL, unshuffle=4))
    assert unet.config.stride == 16
    with pytest.raises(InputError, match="multiples of 16"):
        run(unet, torch.randn(1, 3, 24, 16))


def test_a_wrong_condition_is_a_one_line_error() -> None:
    x = torch.randn(1, 3, 8, 8)
    unet = UNet(CONVOLUTIONAL)
    modulations = unet.modulations(torch.tensor([0]), None)
    with pytest.raises(InputError, match="takes no context"):
        unet(x, modulations, Context((), None))
    unet = UNet(SMALL)
    modulations = unet.modulations(torch.tensor([0]), None)
    with pytest.raises(InputError, match="the context is missing"):
        unet(x, modulations)
    with pytest.raises(InputError, match=r"extra input is \(1, 8, 8\), .* takes \(0, 8, 8\)"):
        run(unet, x, x[:, :1])
    with pytest.raises(InputError, match=r"takes \(2, 8, 8\): give it so, or None"):
        run(UNet(replace(SMALL, extra_channels=2)), x, x[:, :1])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"groups": 32}, "16 channels do not divide into 32 groups"),
        ({"channels": (16, 20)}, "20 channels are no multiple of head_dim 8"),
        ({"attention": (True,)}, "attention has 1 entries and channels 2"),
        ({"channels": (), "attention": ()}, "channels 0"),
        ({"attention": (False, False)}, "context_dim is 12 but no level has attention"),
        ({"depth": 0}, "depth is 0, expected 1 or more"),
        ({"unshuffle": 0}, "unshuffle is 0"),
        ({"dropout": 1.0}, "dropout is 1.0, expected 0 or more and below 1"),
        ({"channels": (15, 16), "groups": 1}, "channels begins with 15, expected an even number"),
    ],
)
def test_a_wrong_config_is_a_one_line_error(change: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as error:
        replace(SMALL, **change)
    assert "\n" not in str(error.value)


COMPILED = """
import torch
from unclip.nn.unet import UNet, UNetConfig

unet = UNet(
    UNetConfig(channels=(16, 24), depth=1, attention=(False, True), head_dim=8, context_dim=12,
               groups=4, extra_channels=1, unshuffle=2, refine_channels=2)
)
for parameter in unet.parameters():
    torch.nn.init.normal_(parameter, std=0.1)

def run(x, t, tokens, mask, extra):
    return unet(x, unet.modulations(t, None), unet.context(tokens, mask), extra)

arguments = (torch.randn(2, 3, 16, 16), torch.tensor([3, 9]), torch.randn(2, 5, 12),
             torch.ones(2, 5, dtype=torch.bool), torch.randn(2, 1, 16, 16))
compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
torch.testing.assert_close(compiled(*arguments), run(*arguments))
"""


@pytest.mark.slow
def test_the_network_is_one_graph() -> None:
    """In a process without the shape checks, which torch.compile cannot follow."""
    environment = os.environ | {"JAXTYPING_DISABLE": "1"}
    subprocess.run([sys.executable, "-c", COMPILED], env=environment, check=True)
