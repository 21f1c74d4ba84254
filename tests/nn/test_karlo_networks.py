"""The U-Net as Karlo's decoder and upsampler: diffusers' numbers, published keys and counts."""

import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from unclip.nn.unet import UNet, UNetConfig

KARLO_DECODER = UNetConfig(out_channels=6, context_dim=1536)
KARLO_UPSAMPLER = UNetConfig(in_channels=6, attention=(False,) * 4, scale_shift=False)


def diffusers_decoder(channels: tuple[int, ...], depth: int, groups: int) -> UNet2DConditionModel:
    coarse = len(channels) - 1
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=3,
        out_channels=6,
        down_block_types=("ResnetDownsampleBlock2D",) + ("SimpleCrossAttnDownBlock2D",) * coarse,
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D",) * coarse + ("ResnetUpsampleBlock2D",),
        block_out_channels=channels,
        layers_per_block=depth,
        attention_head_dim=8,
        cross_attention_dim=20,
        class_embed_type="identity",
        resnet_time_scale_shift="scale_shift",
        norm_num_groups=groups,
    ).eval()


def diffusers_upsampler(channels: tuple[int, ...], depth: int, groups: int) -> UNet2DModel:
    levels = len(channels)
    return UNet2DModel(
        sample_size=16,
        in_channels=6,
        out_channels=3,
        down_block_types=("ResnetDownsampleBlock2D",) * levels,
        up_block_types=("ResnetUpsampleBlock2D",) * levels,
        block_out_channels=channels,
        layers_per_block=depth,
        norm_num_groups=groups,
        add_attention=False,
    ).eval()


@pytest.mark.parametrize(
    ("channels", "depth", "groups", "batch", "height", "width", "tokens"),
    [
        ((16, 32, 48, 64), 3, 8, 2, 16, 16, 5),
        ((32, 64), 1, 16, 3, 8, 20, 11),
        ((16, 16, 24), 2, 4, 1, 32, 12, 1),
    ],
)
@pytest.mark.parametrize("masked", [True, False])
def test_decoder_is_diffusers(
    randomise, channels, depth, groups, batch, height, width, tokens, masked: bool
) -> None:
    reference = diffusers_decoder(channels, depth, groups)
    randomise(reference)
    unet = UNet(
        UNetConfig(
            out_channels=6,
            channels=channels,
            depth=depth,
            attention=(False,) + (True,) * (len(channels) - 1),
            head_dim=8,
            context_dim=20,
            groups=groups,
        )
    ).eval()
    unet.load_state_dict(reference.state_dict(), strict=True)

    x, embed = torch.randn(batch, 3, height, width), torch.randn(batch, 4 * channels[0])
    context, times = torch.randn(batch, tokens, 20), torch.randint(1000, (batch,))
    mask = None
    if masked:
        mask = torch.arange(tokens) < torch.randint(1, tokens + 1, (batch, 1))
    expected = reference(
        x,
        times,
        encoder_hidden_states=context,
        class_labels=embed,
        attention_mask=mask,  # where the unCLIP pipeline puts the text's mask
    ).sample
    actual = unet(x, unet.modulations(times, embed), unet.context(context, mask))
    assert expected.std() > 0.3
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "depth", "groups", "batch", "height", "width"),
    [((16, 32, 48, 64), 3, 8, 2, 16, 16), ((32, 64), 1, 16, 3, 8, 20), ((12,), 2, 4, 1, 7, 9)],
)
def test_upsampler_is_diffusers(randomise, channels, depth, groups, batch, height, width) -> None:
    reference = diffusers_upsampler(channels, depth, groups)
    randomise(reference)
    unet = UNet(
        UNetConfig(
            in_channels=6,
            channels=channels,
            depth=depth,
            attention=(False,) * len(channels),
            scale_shift=False,
            groups=groups,
        )
    ).eval()
    unet.load_state_dict(reference.state_dict(), strict=True)

    x, times = torch.randn(batch, 6, height, width), torch.randint(1000, (batch,))
    expected = reference(x, times).sample
    assert expected.std() > 0.3
    actual = unet(x, unet.modulations(times, None))
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


Shapes = dict[str, tuple[int, ...]]


def with_bias(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def resblock_shapes(name: str, inputs: int, outputs: int, modulation: int) -> Shapes:
    shapes = with_bias(f"{name}.norm1", inputs) | with_bias(f"{name}.norm2", outputs)
    shapes |= with_bias(f"{name}.conv1", outputs, inputs, 3, 3)
    shapes |= with_bias(f"{name}.conv2", outputs, outputs, 3, 3)
    shapes |= with_bias(f"{name}.time_emb_proj", modulation * outputs, 1280)
    if inputs != outputs:
        shapes |= with_bias(f"{name}.conv_shortcut", outputs, inputs, 1, 1)
    return shapes


def attention_shapes(name: str, width: int) -> Shapes:
    shapes = with_bias(f"{name}.group_norm", width)
    for layer in ("to_q", "to_k", "to_v", "to_out.0"):
        shapes |= with_bias(f"{name}.{layer}", width, width)
    for layer in ("add_k_proj", "add_v_proj"):
        shapes |= with_bias(f"{name}.{layer}", width, 1536)
    return shapes


def karlo_shapes(inputs: int, outputs: int, modulation: int, attends: bool) -> Shapes:
    """Karlo's published tensors, from the tables of widths of its two networks."""
    shapes = with_bias("conv_in", 320, inputs, 3, 3)
    shapes |= with_bias("time_embedding.linear_1", 1280, 320)
    shapes |= with_bias("time_embedding.linear_2", 1280, 1280)
    shapes |= with_bias("conv_norm_out", 320) | with_bias("conv_out", outputs, 320, 3, 3)

    # For each level, the width it answers with and what each of its residual blocks reads.
    reading = {
        "down_blocks.0": (320, (320, 320, 320)),
        "down_blocks.1": (640, (320, 640, 640)),
        "down_blocks.2": (960, (640, 960, 960)),
        "down_blocks.3": (1280, (960, 1280, 1280)),
        "mid_block": (1280, (1280, 1280)),
        "up_blocks.0": (1280, (2560, 2560, 2560, 2240)),
        "up_blocks.1": (960, (2240, 1920, 1920, 1600)),
        "up_blocks.2": (640, (1600, 1280, 1280, 960)),
        "up_blocks.3": (320, (960, 640, 640, 640)),
    }
    for level, (width, reads) in reading.items():
        for index, read in enumerate(reads):
            shapes |= resblock_shapes(f"{level}.resnets.{index}", read, width, modulation)
        if level in ("down_blocks.0", "down_blocks.1", "down_blocks.2"):
            shapes |= resblock_shapes(f"{level}.downsamplers.0", width, width, modulation)
        if level in ("up_blocks.0", "up_blocks.1", "up_blocks.2"):
            shapes |= resblock_shapes(f"{level}.upsamplers.0", width, width, modulation)
        if attends and width > 320:
            count = 1 if level == "mid_block" else len(reads)
            for index in range(count):
                shapes |= attention_shapes(f"{level}.attentions.{index}", width)
    return shapes


@pytest.mark.parametrize(
    ("config", "arguments", "tensors", "parameters"),
    [
        (KARLO_DECODER, (3, 6, 2, True), 716, 885_439_686),
        (KARLO_UPSAMPLER, (6, 3, 1, False), 408, 691_579_523),
    ],
)
def test_full_size_has_the_published_tensors(config, arguments, tensors, parameters) -> None:
    with torch.device("meta"):
        state = UNet(config).state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == karlo_shapes(*arguments)
    assert len(state) == tensors
    assert sum(tensor.numel() for tensor in state.values()) == parameters


def test_full_size_work_is_counted_on_the_meta_device() -> None:
    """The counts of diffusers' modules less what is prepared once, in GFLOP (1 MAC = 2 FLOP)."""
    with torch.device("meta"):
        decoder, upsampler = UNet(KARLO_DECODER), UNet(KARLO_UPSAMPLER)
        t, tokens = torch.empty(1), torch.empty(1, 81, 1536)
        modulations, context = decoder.modulations(t, None), decoder.context(tokens)
        with FlopCounterMode(display=False) as counted:
            decoder(torch.empty(1, 3, 64, 64), modulations, context)
        assert counted.get_total_flops() / 1e9 == pytest.approx(597.5, abs=0.1)

        modulations = upsampler.modulations(t, None)
        with FlopCounterMode(display=False) as counted:
            upsampler(torch.empty(1, 6, 256, 256), modulations)
        assert counted.get_total_flops() / 1e9 == pytest.approx(8497.3, abs=0.1)
