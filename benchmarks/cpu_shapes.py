"""diffusers' networks of the shape `small` with random weights, and ours with the same weights."""

from typing import TypeVar

import torch
from diffusers.models.transformers.prior_transformer import PriorTransformer
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from benchmarks.speed.shapes import SHAPES
from benchmarks.speed.weights import draw
from benchmarks.speed.work import decoder_config, prior_config, upsampler_config
from prior.model import Prior
from unclip.nn.unet import UNet, UNetConfig

Network = TypeVar("Network", bound=nn.Module)

SMALL = SHAPES["small"]
DECODER = decoder_config(SMALL).unet
UPSAMPLER = upsampler_config(SMALL).unet


def randomised(module: Network, seed: int) -> Network:
    """Gives values whose products neither grow nor vanish."""
    generator = torch.Generator().manual_seed(seed)
    state = module.state_dict()
    module.load_state_dict({key: draw(key, tuple(x.shape), generator) for key, x in state.items()})
    return module.eval()


def their_prior() -> PriorTransformer:
    return randomised(PriorTransformer(**SMALL.prior), 1)


def our_prior(theirs: PriorTransformer) -> Prior:
    prior = Prior(prior_config(SMALL))
    prior.load_state_dict(theirs.state_dict())
    return prior.eval()


def their_decoder() -> UNet2DConditionModel:
    return randomised(UNet2DConditionModel(**SMALL.decoder), 2)


def their_upsampler() -> UNet2DModel:
    return randomised(UNet2DModel(**SMALL.super_res), 3)


def our_unet(config: UNetConfig, theirs: nn.Module) -> UNet:
    unet = UNet(config)
    unet.load_state_dict(theirs.state_dict())
    return unet.eval()
