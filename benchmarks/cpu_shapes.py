"""diffusers' networks of a small unCLIP with random weights, and ours with the same weights.

The shapes: a prior of 131M parameters, a decoder of 44M, an upsampler of 15M.
"""

import math
from typing import TypeVar

import torch
from diffusers.models.transformers.prior_transformer import PriorTransformer
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from prior.config import PriorConfig, PriorSampling
from prior.model import Prior
from unclip.nn.unet import UNet, UNetConfig

Network = TypeVar("Network", bound=nn.Module)

LAYERS, HEADS, HEAD_DIM = 10, 16, 64
DECODER = UNetConfig(
    out_channels=6,
    channels=(96, 192, 288, 384),
    depth=1,
    attention=(False, True, True, True),
    head_dim=32,
    context_dim=512,
)
UPSAMPLER = UNetConfig(
    in_channels=6,
    channels=(64, 128, 192, 256),
    depth=1,
    attention=(False, False, False, False),
    scale_shift=False,
)


def randomised(module: Network, seed: int) -> Network:
    """Gives values whose products neither grow nor vanish."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            values = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(values / math.sqrt(parameter[0].numel()))
            else:
                parameter.copy_(0.1 * values + (1.0 if name.endswith("weight") else 0.0))
    return module.eval()


def their_prior() -> PriorTransformer:
    return randomised(
        PriorTransformer(num_attention_heads=HEADS, attention_head_dim=HEAD_DIM, num_layers=LAYERS),
        1,
    )


def our_prior(theirs: PriorTransformer) -> Prior:
    prior = Prior(
        PriorConfig(
            num_layers=LAYERS,
            num_heads=HEADS,
            head_dim=HEAD_DIM,
            sampling=PriorSampling(candidates=1),
        )
    )
    prior.load_state_dict(theirs.state_dict())
    return prior.eval()


def their_decoder() -> UNet2DConditionModel:
    return randomised(
        UNet2DConditionModel(
            sample_size=64,
            out_channels=6,
            in_channels=3,
            down_block_types=("ResnetDownsampleBlock2D", *["SimpleCrossAttnDownBlock2D"] * 3),
            mid_block_type="UNetMidBlock2DSimpleCrossAttn",
            up_block_types=(*["SimpleCrossAttnUpBlock2D"] * 3, "ResnetUpsampleBlock2D"),
            block_out_channels=DECODER.channels,
            layers_per_block=DECODER.depth,
            attention_head_dim=DECODER.head_dim,
            cross_attention_dim=DECODER.context_dim or 0,
            class_embed_type="identity",
            resnet_time_scale_shift="scale_shift",
        ),
        2,
    )


def their_upsampler() -> UNet2DModel:
    levels = len(UPSAMPLER.channels)
    return randomised(
        UNet2DModel(
            sample_size=256,
            in_channels=6,
            out_channels=3,
            down_block_types=("ResnetDownsampleBlock2D",) * levels,
            up_block_types=("ResnetUpsampleBlock2D",) * levels,
            block_out_channels=UPSAMPLER.channels,
            layers_per_block=UPSAMPLER.depth,
            norm_num_groups=UPSAMPLER.groups,
            add_attention=False,
        ),
        3,
    )


def our_unet(config: UNetConfig, theirs: nn.Module) -> UNet:
    unet = UNet(config)
    unet.load_state_dict(theirs.state_dict())
    return unet.eval()
