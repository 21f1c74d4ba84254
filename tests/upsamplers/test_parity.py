"""The upsampler against diffusers' UNet2DModel as Karlo configures it, and the full-size key
list."""

import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DModel

from unclip.nn.unet import UNetConfig
from upsamplers.config import UpsamplerConfig
from upsamplers.model import Upsampler, enlarge


def reference(channels: tuple[int, ...], depth: int, groups: int) -> UNet2DModel:
    levels = len(channels)
    model = UNet2DModel(
        sample_size=32,
        in_channels=6,
        out_channels=3,
        block_out_channels=channels,
        layers_per_block=depth,
        add_attention=False,
        down_block_types=("ResnetDownsampleBlock2D",) * levels,
        up_block_types=("ResnetUpsampleBlock2D",) * levels,
        norm_num_groups=groups,
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.15)
    return model.eval()


SHAPES = [((16, 32), 1, 8, 16), ((16, 24, 32), 2, 8, 32), ((8, 16, 24, 32), 3, 8, 32)]


@pytest.mark.parametrize(("channels", "depth", "groups", "size"), SHAPES)
@pytest.mark.parametrize("batch", [1, 3])
def test_equals_diffusers(
    channels: tuple[int, ...], depth: int, groups: int, size: int, batch: int
) -> None:
    theirs = reference(channels, depth, groups)
    unet = UNetConfig(
        in_channels=6,
        channels=channels,
        depth=depth,
        attention=(False,) * len(channels),
        scale_shift=False,
        groups=groups,
    )
    upsampler = Upsampler(UpsamplerConfig(low_size=size // 4, image_size=size, unet=unet)).eval()
    upsampler.unet.load_state_dict(theirs.state_dict())
    generator = torch.Generator().manual_seed(2)
    x_t = torch.randn(batch, 3, size, size, generator=generator)
    low_res = enlarge(torch.rand(batch, 3, size // 4, size // 4, generator=generator) * 2 - 1, 4)
    t = torch.randint(1000, (batch,), generator=generator)
    with torch.no_grad():
        expected = theirs(torch.cat([x_t, low_res], 1), t).sample
        actual = upsampler(x_t, t, low_res, None)
    assert expected.abs().mean() > 0.05
    assert (actual - expected).abs().max() < 1e-5 * max(1, float(expected.abs().max()))


def test_full_size_has_the_published_parameters() -> None:
    with torch.device("meta"):
        upsampler = Upsampler(UpsamplerConfig())
    assert len(upsampler.state_dict()) == 408
    assert sum(p.numel() for p in upsampler.parameters()) == 691_579_523
