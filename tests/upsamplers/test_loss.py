"""The training loss of an upsampler: what it draws, and that bfloat16 changes only rounding."""

from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor

from unclip.diffusion.schedules import DiffusionConfig, build_schedule
from unclip.nn.unet import UNetConfig
from unclip.training.draws import Draws
from upsamplers.config import UpsamplerConfig
from upsamplers.degradation import reduce_size
from upsamplers.loss import upsampler_loss
from upsamplers.model import Upsampler, enlarge


def tiny() -> Upsampler:
    torch.manual_seed(0)
    unet = UNetConfig(
        in_channels=6, channels=(8, 16), depth=1, attention=(False, False), groups=8, unshuffle=4
    )
    config = UpsamplerConfig(
        low_size=16,
        image_size=64,
        tells_augmentation=True,
        unet=unet,
        diffusion=DiffusionConfig(prediction="x_start"),
    )
    upsampler = Upsampler(config)
    torch.nn.init.normal_(upsampler.unet.conv_out.weight, std=0.05)
    return upsampler


@pytest.mark.parametrize("degradation", ["blur", "bsr"])
def test_bfloat16_changes_only_rounding(degradation: Literal["blur", "bsr"]) -> None:
    upsampler = tiny()
    crops = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    losses = []
    for bfloat16 in (False, True):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            values = upsampler_loss(
                upsampler,
                upsampler.config,
                build_schedule(upsampler.config.diffusion),
                crops,
                Draws(0, "upsampler_64", range(3)),
                degradation=degradation,
                max_augmentation=0.4,
            )
        losses.append(float(values["loss"].detach()))
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[0] > 0


def test_a_new_network_answers_the_small_picture() -> None:
    config = replace(
        tiny().config, unet=replace(tiny().config.unet, refine_channels=4), tells_augmentation=False
    )
    x_t, low_res = torch.randn(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for prediction, expected in (("x_start", low_res), ("v", torch.zeros_like(low_res))):
        diffusion = replace(config.diffusion, prediction=prediction)
        network = Upsampler(replace(config, diffusion=diffusion))
        assert torch.equal(network(x_t, torch.tensor([5, 900]), low_res, None), expected)


def test_a_clean_sample_is_told_and_left_as_it_is() -> None:
    upsampler = tiny()
    seen: dict[str, Tensor] = {}

    def watch(module: torch.nn.Module, args: tuple[Tensor, ...]) -> None:
        seen.update(zip(("x_t", "t", "low_res", "level"), args, strict=True))

    upsampler.register_forward_pre_hook(watch)
    crops = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    upsampler_loss(
        upsampler,
        upsampler.config,
        build_schedule(upsampler.config.diffusion),
        crops,
        Draws(0, "upsampler_64", range(64)),
        degradation="blur",
        max_augmentation=0.4,
        clean_share=0.5,
    )
    same = (seen["low_res"] == enlarge(reduce_size(crops, 4), 4)).flatten(1).all(dim=1)
    assert torch.equal(same, seen["level"] == 0)
    assert 20 < int(same.sum()) < 44
