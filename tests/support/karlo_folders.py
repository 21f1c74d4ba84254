"""Tiny pipelines of diffusers' own classes in Karlo's layout, and folders of them.

The shapes of diffusers' removed unit tests, and a second set like Karlo's: no attention in the
upsampler, all parameters random.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import torch
from diffusers.models.transformers.prior_transformer import PriorTransformer
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.deprecated.unclip.pipeline_unclip import UnCLIPPipeline
from diffusers.pipelines.deprecated.unclip.pipeline_unclip_image_variation import (
    UnCLIPImageVariationPipeline,
)
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from diffusers.schedulers.scheduling_unclip import UnCLIPScheduler
from torch import nn
from transformers import (
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from unclip.pipeline.pipeline import UnCLIPPipeline as Ours

VOCABULARY = (*"lowerstidn", "lo", "l</w>", "w</w>", "r</w>", "t</w>", "low</w>", "er</w>")
VOCABULARY += ("lowest</w>", "newer</w>", "wider", "<unk>", "<|startoftext|>", "<|endoftext|>")
MERGES = "#version: 0.2\nl o\nlo w</w>\ne r</w>\n"


@dataclass(frozen=True)
class Shape:
    """How large the networks are; the defaults are those of diffusers' removed tests."""

    dim: int = 32
    prior_heads: int = 2
    prior_head_dim: int = 12
    prior_layers: int = 1
    decoder_size: int = 32
    channels: tuple[int, ...] = (32, 64)
    depth: int = 1
    head_dim: int = 4
    context_dim: int = 100
    groups: int = 32
    upsampler_size: int = 64
    add_attention: bool = True


DUMMY = Shape()
KARLO = Shape(
    prior_heads=3,
    prior_head_dim=8,
    prior_layers=2,
    decoder_size=8,
    channels=(16, 32, 48),
    head_dim=8,
    context_dim=24,
    groups=8,
    upsampler_size=32,
    add_attention=False,
)
"""Like Karlo in all but width: four times the size, no attention in the upsampler."""


def write_tokenizer(folder: Path) -> Path:
    """Writes `vocab.json`, `merges.txt` and their configuration, as old libraries did."""
    folder.mkdir(parents=True)
    ids = {token: number for number, token in enumerate(VOCABULARY)}
    (folder / "vocab.json").write_text(json.dumps(ids))
    (folder / "merges.txt").write_text(MERGES)
    config = {"model_max_length": 77, "unk_token": "<unk>", "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def text_parts(shape: Shape, tokenizer: Path) -> dict[str, Any]:
    """Tokenizer and text encoder of the removed tests."""
    torch.manual_seed(0)
    config = CLIPTextConfig(
        bos_token_id=0,
        eos_token_id=2,
        hidden_size=shape.dim,
        projection_dim=shape.dim,
        intermediate_size=37,
        layer_norm_eps=1e-05,
        num_attention_heads=4,
        num_hidden_layers=5,
        pad_token_id=1,
        vocab_size=1000,
    )
    return {
        "tokenizer": CLIPTokenizer.from_pretrained(tokenizer),
        "text_encoder": CLIPTextModelWithProjection(config).eval(),
    }


def image_parts(shape: Shape) -> dict[str, Any]:
    """Image encoder and its preprocessing."""
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=32,
        projection_dim=shape.dim,
        num_hidden_layers=5,
        num_attention_heads=4,
        image_size=32,
        intermediate_size=37,
        patch_size=1,
    )
    return {
        "feature_extractor": CLIPImageProcessor(crop_size=32, size=32),
        "image_encoder": CLIPVisionModelWithProjection(config).eval(),
    }


def prior_parts(shape: Shape) -> dict[str, Any]:
    torch.manual_seed(0)
    prior = PriorTransformer(
        num_attention_heads=shape.prior_heads,
        attention_head_dim=shape.prior_head_dim,
        embedding_dim=shape.dim,
        num_layers=shape.prior_layers,
    ).eval()
    scheduler = UnCLIPScheduler(
        variance_type="fixed_small_log",
        prediction_type="sample",
        num_train_timesteps=1000,
        clip_sample_range=5.0,
    )
    return {"prior": prior, "prior_scheduler": scheduler}


def decoder_parts(shape: Shape) -> dict[str, Any]:
    levels = len(shape.channels) - 1
    torch.manual_seed(0)
    text_proj = UnCLIPTextProjModel(
        clip_embeddings_dim=shape.dim,
        time_embed_dim=shape.channels[0] * 4,
        cross_attention_dim=shape.context_dim,
    ).eval()
    torch.manual_seed(0)
    decoder = UNet2DConditionModel(
        sample_size=shape.decoder_size,
        in_channels=3,
        out_channels=6,
        down_block_types=("ResnetDownsampleBlock2D", *["SimpleCrossAttnDownBlock2D"] * levels),
        up_block_types=(*["SimpleCrossAttnUpBlock2D"] * levels, "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        block_out_channels=shape.channels,
        layers_per_block=shape.depth,
        cross_attention_dim=shape.context_dim,
        class_embed_type="identity",
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=shape.head_dim,
        norm_num_groups=shape.groups,
    ).eval()
    scheduler = UnCLIPScheduler(
        variance_type="learned_range", prediction_type="epsilon", num_train_timesteps=1000
    )
    return {"text_proj": text_proj, "decoder": decoder, "decoder_scheduler": scheduler}


def upsampler_parts(shape: Shape) -> dict[str, Any]:
    def network(seed: int) -> UNet2DModel:
        torch.manual_seed(seed)
        return UNet2DModel(
            sample_size=shape.upsampler_size,
            layers_per_block=shape.depth,
            down_block_types=("ResnetDownsampleBlock2D",) * len(shape.channels),
            up_block_types=("ResnetUpsampleBlock2D",) * len(shape.channels),
            block_out_channels=shape.channels,
            in_channels=6,
            out_channels=3,
            add_attention=shape.add_attention,
            norm_num_groups=shape.groups,
        ).eval()

    scheduler = UnCLIPScheduler(
        variance_type="fixed_small_log", prediction_type="epsilon", num_train_timesteps=1000
    )
    return {
        "super_res_first": network(0),
        "super_res_last": network(1),
        "super_res_scheduler": scheduler,
    }


def randomise(parts: Mapping[str, Any], *, answer: float = 0.02) -> None:
    """Gives every parameter and statistic a value: none of them may be without effect.

    Args:
        answer: about how large a U-Net's answer is. At t = 999 the clean sample is the difference
            to the noise over 5e-5, and so is a rounding error of the answer; a small answer has a
            small one, and leaves the picture's values between the clamps.
    """
    networks = {name: part for name, part in parts.items() if isinstance(part, nn.Module)}
    for number, (kind, part) in enumerate(networks.items()):
        generator = torch.Generator().manual_seed(100 + number)
        # The last network's answer counts for a hundredth only, and is never asked at t = 999.
        scale = 0.3 if kind == "super_res_last" else answer
        with torch.no_grad():
            for name, parameter in part.named_parameters():
                values = torch.randn(parameter.shape, generator=generator)
                if name == "clip_std":
                    parameter.copy_(0.5 + 0.2 * values.abs())
                elif name.startswith("conv_out"):
                    parameter.copy_(scale * values / math.sqrt(parameter[0].numel()))
                elif name.endswith("embedding.weight"):
                    parameter.copy_(0.5 * values)
                elif parameter.dim() > 1:
                    parameter.copy_(values / math.sqrt(parameter[0].numel()))
                else:
                    parameter.copy_(0.1 * values + ("norm" in name and name.endswith("weight")))


def text_to_image(shape: Shape, tokenizer: Path) -> UnCLIPPipeline:
    """diffusers' pipeline, as its modules initialise themselves."""
    parts = text_parts(shape, tokenizer) | prior_parts(shape)
    parts |= decoder_parts(shape) | upsampler_parts(shape)
    return quiet(UnCLIPPipeline(**parts))


def image_variation(shape: Shape, tokenizer: Path) -> UnCLIPImageVariationPipeline:
    """diffusers' pipeline of image variations."""
    parts = text_parts(shape, tokenizer) | image_parts(shape)
    parts |= decoder_parts(shape) | upsampler_parts(shape)
    return quiet(UnCLIPImageVariationPipeline(**parts))


def quiet(pipe: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    return pipe


def let_diffusers_load(patch: Any) -> None:
    """diffusers 0.42.1 cannot load its own pipeline: these names are all that it lacks."""
    import diffusers.pipelines.deprecated.unclip as moved

    patch.setattr(diffusers.pipelines, "unclip", moved, raising=False)
    patch.setattr(diffusers, "UnCLIPTextProjModel", UnCLIPTextProjModel, raising=False)


class Pair(NamedTuple):
    """One model twice: diffusers' pipeline, and ours loaded from the folder that it saved."""

    theirs: Any
    ours: Ours
    folder: Path


def pair(theirs: Any, folder: Path) -> Pair:
    """Saves diffusers' pipeline, and loads it as ours."""
    theirs.save_pretrained(folder)
    return Pair(theirs, Ours.from_pretrained(folder), folder)
