"""A whole unCLIP of random weights, made as a user makes one: stages on disk, assembled."""

import math
from pathlib import Path

import torch
from torch import nn

import decoder.model
import prior.model
import upsamplers.model
from decoder.config import DecoderConfig, DecoderSampling
from decoder.model import Decoder
from prior.config import PriorConfig, PriorSampling
from prior.model import Prior
from unclip.checkpoint import StageFolder, save_stage
from unclip.clip.config import CLIPConfig, ImageConfig, TextConfig
from unclip.clip.encoder import CLIP
from unclip.clip.files import clip_to_stage
from unclip.clip.tokenize import Tokenizer, open_clip_merges
from unclip.diffusion.schedules import DiffusionConfig
from unclip.nn.unet import UNetConfig
from unclip.pipeline.assemble import assemble
from upsamplers.config import UpsamplerConfig, UpsamplerSampling
from upsamplers.model import Upsampler

V = DiffusionConfig(prediction="v", clip_x_start=1.0)


def randomise(module: nn.Module, seed: int) -> None:
    """Gives zero-initialised parts values, too: a picture must depend on every stage."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            values = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(values / math.sqrt(parameter[0].numel()))
            else:
                parameter.copy_(0.1 * values + (1.0 if name.endswith("weight") else 0.0))


def clip_config() -> CLIPConfig:
    return CLIPConfig(
        embed_dim=12,
        text=TextConfig(
            width=16, num_layers=1, num_heads=2, mlp_dim=32, context_length=12, vocab_size=700
        ),
        image=ImageConfig(
            width=16, num_layers=1, num_heads=2, mlp_dim=32, patch_size=8, image_size=16
        ),
    )


def prior_config(embed_dim: int = 12) -> PriorConfig:
    return PriorConfig(
        embed_dim=embed_dim,
        text_width=16,
        context_length=12,
        num_layers=2,
        num_heads=2,
        head_dim=8,
        sampling=PriorSampling(num_steps=3, guidance_scale=2.0),
    )


def decoder_config() -> DecoderConfig:
    return DecoderConfig(
        embed_dim=12,
        text_width=16,
        num_image_tokens=2,
        learned_text_null=True,
        unet=UNetConfig(
            channels=(8, 16),
            depth=1,
            attention=(False, True),
            head_dim=8,
            context_dim=8,
            groups=4,
            unshuffle=8,
        ),
        diffusion=V,
        sampling=DecoderSampling(num_steps=4, guidance_scale=2.0, sampler="dpmpp_2m"),
    )


def upsampler_config(low_size: int, image_size: int) -> UpsamplerConfig:
    return UpsamplerConfig(
        low_size=low_size,
        image_size=image_size,
        tells_augmentation=True,
        unet=UNetConfig(
            in_channels=6,
            channels=(8, 8),
            depth=1,
            attention=(False, False),
            context_dim=None,
            groups=4,
            unshuffle=image_size // 16,
            refine_channels=2,
        ),
        diffusion=V,
        sampling=UpsamplerSampling(num_steps=2, sampler="ddim", augmentation=0.1),
    )


def save_stages(root: Path) -> dict[str, Path]:
    """Writes the five stages of one model, as training runs do."""
    merges = open_clip_merges()[: 700 - 514]
    config = clip_config()
    clip = CLIP(config, Tokenizer(merges, 700, config.text.context_length)).eval()
    randomise(clip, 0)
    stage = StageFolder("clip", *_clip_parts(clip))
    save_stage(root / "clip" / "final", stage)
    trained_on: dict[str, object] = {"clip": clip.fingerprint()}

    first, second = Prior(prior_config()), Decoder(decoder_config())
    randomise(first, 1)
    randomise(second, 2)
    save_stage(
        root / "prior" / "final", prior.model.to_stage(first.config, first.state_dict(), trained_on)
    )
    save_stage(
        root / "decoder" / "final",
        decoder.model.to_stage(second.config, second.state_dict(), trained_on),
    )
    for seed, (low, high) in enumerate(((64, 256), (256, 1024)), 3):
        upsampler = Upsampler(upsampler_config(low, high))
        randomise(upsampler, seed)
        folder = root / f"upsampler_{high}" / "final"
        save_stage(
            folder,
            upsamplers.model.to_stage(upsampler.config, upsampler.state_dict(), {"steps": 5}),
        )
    names = ("clip", "prior", "decoder", "upsampler_256", "upsampler_1024")
    return {name: root / name for name in names}


def _clip_parts(clip: CLIP) -> tuple[dict, dict, dict, dict]:
    config, tensors, extra = clip_to_stage(clip)
    return config, {}, tensors, extra


def make_model(root: Path) -> Path:
    """Writes stages to `root` and assembles them in `root`/model."""
    runs = save_stages(root)
    assemble(
        root / "model",
        clip=runs["clip"],
        prior=runs["prior"],
        decoder=runs["decoder"],
        upsamplers=[runs["upsampler_256"], runs["upsampler_1024"]],
        name="tiny",
    )
    return root / "model"
