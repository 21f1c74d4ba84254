"""A small model of ours that diffusers' layout of Karlo has a place for, all of it random."""

import math
from pathlib import Path

import torch
from tiny_model import randomise

from decoder.config import DecoderConfig
from decoder.model import Decoder
from prior.config import PriorConfig, PriorSampling
from prior.model import Prior
from unclip.clip.config import CLIPConfig, ImageConfig, TextConfig
from unclip.clip.encoder import CLIP
from unclip.clip.tokenize import Tokenizer, open_clip_merges
from unclip.diffusion.schedules import DiffusionConfig
from unclip.nn.unet import UNetConfig
from unclip.pipeline.folders import write_model
from unclip.pipeline.registry import Components, take_apart
from upsamplers.config import UpsamplerConfig
from upsamplers.model import Upsampler

VOCAB = 700


def clip_config(**changes: object) -> CLIPConfig:
    return CLIPConfig(
        **{  # pyright: ignore[reportArgumentType]
            "embed_dim": 24,
            "text": TextConfig(
                width=24,
                num_layers=2,
                num_heads=2,
                mlp_dim=40,
                context_length=12,
                vocab_size=VOCAB,
                clean="hugging_face",
            ),
            "image": ImageConfig(
                width=16,
                num_layers=1,
                num_heads=2,
                mlp_dim=32,
                patch_size=8,
                image_size=16,
                mean=(0.4, 0.5, 0.6),
            ),
            "activation": "quick_gelu",
            **changes,
        }
    )


def prior_config() -> PriorConfig:
    return PriorConfig(
        embed_dim=24,
        text_width=24,
        context_length=12,
        num_layers=2,
        num_heads=2,
        head_dim=8,
        diffusion=DiffusionConfig(prediction="x_start", clip_x_start=7.5),
        sampling=PriorSampling(guidance_scale=4.0, candidates=1),
    )


def decoder_config(**changes: object) -> DecoderConfig:
    unet = UNetConfig(
        out_channels=6,
        channels=(8, 16),
        depth=1,
        attention=(False, True),
        head_dim=8,
        context_dim=20,
        groups=4,
    )
    return DecoderConfig(
        **{  # pyright: ignore[reportArgumentType]
            "image_size": 16,
            "embed_dim": 24,
            "text_width": 24,
            "num_image_tokens": 3,
            "unet": unet,
            **changes,
        }
    )


def upsampler_config(**changes: object) -> UpsamplerConfig:
    unet = UNetConfig(
        in_channels=6,
        channels=(8, 16),
        depth=1,
        attention=(False, False),
        head_dim=8,
        middle_attention=False,
        scale_shift=False,
        groups=4,
    )
    return UpsamplerConfig(
        **{  # pyright: ignore[reportArgumentType]
            "low_size": 16,
            "image_size": 32,
            "unet": unet,
            "last_network": True,
            **changes,
        }
    )


def components() -> Components:
    """The networks; the scale of CLIP's cosine is the one that stands in for a missing one."""
    config = clip_config()
    tokenizer = Tokenizer(
        open_clip_merges()[: VOCAB - 514], VOCAB, config.text.context_length, config.text.clean
    )
    clip = CLIP(config, tokenizer)
    networks = (clip, Prior(prior_config()), Decoder(decoder_config()))
    upsampler = Upsampler(upsampler_config())
    for seed, network in enumerate((*networks, upsampler)):
        randomise(network, seed)
        network.eval()
    clip.logit_scale.data = torch.tensor(math.log(100))
    networks[1].clip_mean += torch.randn(1, 24, generator=torch.Generator().manual_seed(9))
    return Components(*networks, (upsampler,))


def write_karlo_like(folder: Path) -> Components:
    """Writes the model folder; returns what is in it."""
    made = components()
    write_model(folder, take_apart(made, "karlo-like", {}))
    return made
