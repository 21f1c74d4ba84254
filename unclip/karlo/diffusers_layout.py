"""diffusers' folders of Karlo: `karlo-v1-alpha` and `karlo-v1-alpha-image-variations`.

Each component is opened and its configuration translated; nothing of a tensor is read. Parameter
names are ours already but for their prefixes: text_proj is our decoder's `conditioning`,
super_res_last our upsampler's `last`.
"""

from pathlib import Path
from typing import Any, TypeVar

from decoder.config import DecoderConfig, DecoderSampling
from prior.config import PriorConfig, PriorSampling
from unclip.config import from_dict, to_dict
from unclip.diffusion.schedules import DiffusionConfig, Variance
from unclip.errors import ConfigError
from unclip.karlo import components
from unclip.karlo.clip_components import open_clip
from unclip.karlo.component_files import component_weights, read_config
from unclip.karlo.diffusers_index import read_diffusers_index
from unclip.karlo.names import LICENCE
from unclip.karlo.opened import OpenModel, OpenStage
from unclip.mapped import LazyTensor
from unclip.nn.unet import UNetConfig
from upsamplers.config import UpsamplerConfig, UpsamplerSampling

T = TypeVar("T")

WEIGHTS = "diffusion_pytorch_model"
PRIOR_STEPS, DECODER_STEPS, UPSAMPLER_STEPS = 25, 25, 7
PRIOR_GUIDANCE, DECODER_GUIDANCE = 4.0, 8.0
"""The defaults of diffusers' pipelines, like the steps."""


def open_diffusers(folder: Path, name: str | None = None) -> OpenModel:
    """Opens a model in diffusers' layout.

    Args:
        name: the model's; None takes the folder's.

    Raises:
        CheckpointError: a file is missing or damaged, or names another class.
        ConfigError: a configuration asks for what our networks do not do.
    """
    names = read_diffusers_index(folder)
    return OpenModel(
        name=name or folder.resolve().name,
        clip=open_clip(folder, with_images="image_encoder" in names),
        prior=_open_prior(folder) if "prior" in names else None,
        decoder=_open_decoder(folder),
        upsamplers=(_open_upsampler(folder),),
        licence=LICENCE,
    )


def _open_prior(folder: Path) -> OpenStage:
    about = _config(components.PriorTransformer, folder / "prior")
    config = PriorConfig(
        embed_dim=about.embedding_dim,
        text_width=about.embedding_dim,
        context_length=about.num_embeddings,
        num_layers=about.num_layers,
        num_heads=about.num_attention_heads,
        head_dim=about.attention_head_dim,
        diffusion=_diffusion(folder / "prior_scheduler"),
        sampling=PriorSampling(num_steps=PRIOR_STEPS, guidance_scale=PRIOR_GUIDANCE, candidates=1),
    )
    return OpenStage("prior", to_dict(config), component_weights(folder / "prior", WEIGHTS))


def _open_decoder(folder: Path) -> OpenStage:
    about = _config(components.UNet2DConditionModel, folder / "decoder")
    projection = _config(components.UnCLIPTextProjModel, folder / "text_proj")
    unet = UNetConfig(
        out_channels=about.out_channels,
        channels=about.block_out_channels,
        depth=about.layers_per_block,
        attention=(False, *[True] * (len(about.block_out_channels) - 1)),
        head_dim=about.attention_head_dim,
        context_dim=about.cross_attention_dim,
        groups=about.norm_num_groups,
    )
    for key, got, expected in (
        ("time_embed_dim", projection.time_embed_dim, unet.temb_dim),
        ("cross_attention_dim", projection.cross_attention_dim, about.cross_attention_dim),
    ):
        if got != expected:
            raise ConfigError(
                f"{folder / 'text_proj'}: {key} is {got}, expected {expected}, the decoder's"
            )
    config = DecoderConfig(
        image_size=about.sample_size,
        embed_dim=projection.clip_embeddings_dim,
        text_width=projection.clip_embeddings_dim,
        num_image_tokens=projection.clip_extra_context_tokens,
        unet=unet,
        diffusion=_diffusion(folder / "decoder_scheduler"),
        sampling=DecoderSampling(num_steps=DECODER_STEPS, guidance_scale=DECODER_GUIDANCE),
    )
    tensors = _under("unet", component_weights(folder / "decoder", WEIGHTS))
    tensors |= _under("conditioning", component_weights(folder / "text_proj", WEIGHTS))
    return OpenStage("decoder", to_dict(config), tensors)


def _open_upsampler(folder: Path) -> OpenStage:
    first, last = (
        _config(components.UNet2DModel, folder / name)
        for name in ("super_res_first", "super_res_last")
    )
    unet = _upsampler_unet(first)
    if _upsampler_unet(last) != unet or last.sample_size not in (None, first.sample_size):
        raise ConfigError(f"{folder}: super_res_first and super_res_last differ in shape")
    if first.sample_size is None:
        raise ConfigError(f"{folder / 'super_res_first'}: sample_size is missing")
    config = UpsamplerConfig(
        low_size=_config(components.UNet2DConditionModel, folder / "decoder").sample_size,
        image_size=first.sample_size,
        unet=unet,
        diffusion=_diffusion(folder / "super_res_scheduler"),
        sampling=UpsamplerSampling(num_steps=UPSAMPLER_STEPS),
        last_network=True,
    )
    tensors = _under("unet", component_weights(folder / "super_res_first", WEIGHTS))
    tensors |= _under("last", component_weights(folder / "super_res_last", WEIGHTS))
    return OpenStage("upsampler", to_dict(config), tensors)


def _upsampler_unet(about: components.UNet2DModel) -> UNetConfig:
    return UNetConfig(
        in_channels=about.in_channels,
        out_channels=about.out_channels,
        channels=about.block_out_channels,
        depth=about.layers_per_block,
        attention=(False,) * len(about.block_out_channels),
        # Without a width of a head there is one head.
        head_dim=about.attention_head_dim or about.block_out_channels[-1],
        scale_shift=False,
        groups=about.norm_num_groups,
        middle_attention=about.add_attention,
    )


def _diffusion(folder: Path) -> DiffusionConfig:
    """The process of a scheduler: a cosine in float32, as diffusers computes it."""
    about = _config(components.UnCLIPScheduler, folder, "scheduler_config.json")
    variance: Variance = (
        "learned_range" if about.variance_type == "learned_range" else "fixed_small"
    )
    return DiffusionConfig(
        num_timesteps=about.num_train_timesteps,
        prediction="x_start" if about.prediction_type == "sample" else "eps",
        variance=variance,
        clip_x_start=about.clip_sample_range if about.clip_sample else None,
        precision="float32",
    )


def _config(kind: type[T], folder: Path, name: str = "config.json") -> T:
    return from_dict(kind, read_config(folder, name), str(folder / name))


def _under(prefix: str, refs: dict[str, Any]) -> dict[str, LazyTensor]:
    return {f"{prefix}.{name}": ref for name, ref in refs.items()}
