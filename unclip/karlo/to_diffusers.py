"""A model written in diffusers' layout of Karlo, tensor by tensor.

Each configuration is an object of `components.py`, the registry by which it is read again: nothing
can be written that would not be.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from prior.config import PriorConfig
from unclip.clip.config import CLIPConfig
from unclip.clip.files import read_tokenizer
from unclip.clip.names import to_hugging_face
from unclip.clip.tokenize import Tokenizer
from unclip.clip.vocabulary import END, START
from unclip.config import to_dict
from unclip.diffusion.schedules import DiffusionConfig
from unclip.karlo import components
from unclip.karlo.build import Networks
from unclip.karlo.diffusers_index import COMPONENTS, IMAGE_VARIATION, INDEX, TEXT_TO_IMAGE
from unclip.karlo.opened import OpenModel
from unclip.karlo.weights import below
from unclip.mapped import LazyTensor
from unclip.nn.unet import UNetConfig
from unclip.safetensors_writer import Progress, write_sharded

DIFFUSERS_VERSION = "0.42.1"
"""The layout is that version's."""
DIFFUSERS_WEIGHTS, TRANSFORMERS_WEIGHTS = "diffusion_pytorch_model", "model"
PAD_ID = 0
CLIP_PADDING, CLIP_START, CLIP_LARGEST = 1, 0, 2
"""Ids in the text encoder's configuration, as OpenAI's own has them: 2 says that end of text is the
largest id."""
VERSION_LINE = "#version: 0.2\n"


@dataclass(frozen=True)
class Writing:
    """How weights are stored."""

    dtype: torch.dtype | None = None
    """Of floating-point ones; None keeps each one's own."""
    shard_bytes: int | None = None
    """Larger files are split; None for never."""
    progress: Progress = lambda name: None


def component_names(networks: Networks) -> list[str]:
    """The components that a model is written as: those of its pipeline, and for text to image with
    an image tower that tower."""
    variations = networks.prior is None
    names = list(COMPONENTS[IMAGE_VARIATION if variations else TEXT_TO_IMAGE])
    if not variations and not networks.clip.config.text_only:
        names += [name for name in COMPONENTS[IMAGE_VARIATION] if name not in names]
    return names


def tensor_counts(model: OpenModel) -> dict[str, int]:
    """How many tensors each component that has weights will have."""
    first = model.upsamplers[0].tensors if model.upsamplers else {}
    counts = {
        "prior": len(model.prior.tensors) if model.prior is not None else 0,
        "decoder": len(below(model.decoder.tensors, "unet.")),
        "text_proj": len(below(model.decoder.tensors, "conditioning.")),
        "super_res_first": len(below(first, "unet.")),
        "super_res_last": len(below(first, "unet.")),
        "text_encoder": len(below(model.clip.tensors, "text.")),
        "image_encoder": len(below(model.clip.tensors, "image.")),
    }
    return {name: count for name, count in counts.items() if count}


def write_diffusers(folder: Path, model: OpenModel, networks: Networks, writing: Writing) -> None:
    """Writes all components and the index into an empty folder.

    Args:
        networks: the model's, on the meta device; `check_expressible` has let them pass.

    Raises:
        CheckpointError: a number is too large for the precision asked for.
        OSError: a file cannot be written.
    """
    _write_prior(folder, model, networks, writing)
    _write_decoder(folder, model, networks, writing)
    _write_upsampler(folder, model, networks, writing)
    _write_clip(folder, model, networks.clip.config, writing)
    variations = networks.prior is None
    index: dict[str, Any] = {
        "_class_name": IMAGE_VARIATION if variations else TEXT_TO_IMAGE,
        "_diffusers_version": DIFFUSERS_VERSION,
    }
    classes = COMPONENTS[TEXT_TO_IMAGE] | COMPONENTS[IMAGE_VARIATION]
    for name in sorted(component_names(networks)):
        libraries, kinds = classes[name]
        index[name] = [libraries[0], kinds[0]]
    _write_json(folder / INDEX, index)


def _write_prior(folder: Path, model: OpenModel, networks: Networks, writing: Writing) -> None:
    if networks.prior is None or model.prior is None:
        return
    config = networks.prior.config
    assert isinstance(config, PriorConfig), "check_expressible has refused others"
    about = components.PriorTransformer(
        _class_name="PriorTransformer",
        num_attention_heads=config.num_heads,
        attention_head_dim=config.head_dim,
        num_layers=config.num_layers,
        embedding_dim=config.embed_dim,
        num_embeddings=config.context_length,
    )
    _write_component(folder / "prior", about, model.prior.tensors, writing)
    _write_scheduler(folder / "prior_scheduler", config.diffusion)


def _write_decoder(folder: Path, model: OpenModel, networks: Networks, writing: Writing) -> None:
    config = networks.decoder.config
    unet, levels = config.unet, len(config.unet.channels) - 1
    attending_down: tuple[Literal["SimpleCrossAttnDownBlock2D"], ...]
    attending_up: tuple[Literal["SimpleCrossAttnUpBlock2D"], ...]
    attending_down = ("SimpleCrossAttnDownBlock2D",) * levels
    attending_up = ("SimpleCrossAttnUpBlock2D",) * levels
    assert unet.context_dim is not None, "a decoder has a context"
    about = components.UNet2DConditionModel(
        _class_name="UNet2DConditionModel",
        sample_size=config.image_size,
        in_channels=3,
        out_channels=6,
        down_block_types=("ResnetDownsampleBlock2D", *attending_down),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=(*attending_up, "ResnetUpsampleBlock2D"),
        block_out_channels=unet.channels,
        layers_per_block=unet.depth,
        norm_num_groups=unet.groups,
        cross_attention_dim=unet.context_dim,
        attention_head_dim=unet.head_dim,
        class_embed_type="identity",
        resnet_time_scale_shift="scale_shift",
    )
    projection = components.UnCLIPTextProjModel(
        _class_name="UnCLIPTextProjModel",
        clip_extra_context_tokens=config.num_image_tokens,
        clip_embeddings_dim=config.embed_dim,
        time_embed_dim=unet.temb_dim,
        cross_attention_dim=unet.context_dim,
    )
    tensors = model.decoder.tensors
    _write_component(folder / "decoder", about, below(tensors, "unet."), writing)
    _write_component(folder / "text_proj", projection, below(tensors, "conditioning."), writing)
    _write_scheduler(folder / "decoder_scheduler", config.diffusion)


def _write_upsampler(folder: Path, model: OpenModel, networks: Networks, writing: Writing) -> None:
    """A model with one network for all steps has it written twice."""
    config, tensors = networks.upsamplers[0].config, model.upsamplers[0].tensors
    about = _super_res(config.unet, config.image_size)
    last = "last." if config.last_network else "unet."
    _write_component(folder / "super_res_first", about, below(tensors, "unet."), writing)
    _write_component(folder / "super_res_last", about, below(tensors, last), writing)
    _write_scheduler(folder / "super_res_scheduler", config.diffusion)


def _super_res(unet: UNetConfig, size: int) -> components.UNet2DModel:
    levels = len(unet.channels)
    return components.UNet2DModel(
        _class_name="UNet2DModel",
        sample_size=size,
        in_channels=6,
        down_block_types=("ResnetDownsampleBlock2D",) * levels,
        up_block_types=("ResnetUpsampleBlock2D",) * levels,
        block_out_channels=unet.channels,
        layers_per_block=unet.depth,
        attention_head_dim=unet.head_dim,
        norm_num_groups=unet.groups,
        add_attention=bool(unet.middle_attention),
    )


def _write_scheduler(folder: Path, config: DiffusionConfig) -> None:
    about = components.UnCLIPScheduler(
        _class_name="UnCLIPScheduler",
        num_train_timesteps=config.num_timesteps,
        variance_type=(
            "learned_range" if config.variance == "learned_range" else "fixed_small_log"
        ),
        clip_sample=config.clip_x_start is not None,
        clip_sample_range=1.0 if config.clip_x_start is None else config.clip_x_start,
        prediction_type="sample" if config.prediction == "x_start" else "epsilon",
    )
    folder.mkdir()
    _write_json(folder / "scheduler_config.json", _of_diffusers(about))


def _write_clip(folder: Path, model: OpenModel, config: CLIPConfig, writing: Writing) -> None:
    text, image, tensors = config.text, config.image, model.clip.tensors
    tower = components.CLIPTextModel(
        vocab_size=text.vocab_size,
        hidden_size=text.width,
        intermediate_size=text.mlp_dim,
        projection_dim=config.embed_dim,
        num_hidden_layers=text.num_layers,
        num_attention_heads=text.num_heads,
        max_position_embeddings=text.context_length,
        hidden_act=config.activation,
        layer_norm_eps=config.eps,
        pad_token_id=CLIP_PADDING,
        bos_token_id=CLIP_START,
        eos_token_id=CLIP_LARGEST,
    )
    _write_tower(folder / "text_encoder", "CLIPTextModelWithProjection", tower, tensors, writing)
    _write_tokenizer(folder / "tokenizer", read_tokenizer(text, model.clip.extra))
    if config.text_only:
        return
    tower = components.CLIPVisionModel(
        hidden_size=image.width,
        intermediate_size=image.mlp_dim,
        projection_dim=config.embed_dim,
        num_hidden_layers=image.num_layers,
        num_attention_heads=image.num_heads,
        image_size=image.image_size,
        patch_size=image.patch_size,
        hidden_act=config.activation,
        layer_norm_eps=config.eps,
    )
    _write_tower(folder / "image_encoder", "CLIPVisionModelWithProjection", tower, tensors, writing)
    (folder / "feature_extractor").mkdir()
    about = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": image.image_size},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": image.image_size, "width": image.image_size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(image.mean),
        "image_std": list(image.std),
    }
    _write_json(folder / "feature_extractor" / "preprocessor_config.json", about)


def _write_tower(
    folder: Path,
    architecture: str,
    about: components.CLIPTextModel | components.CLIPVisionModel,
    tensors: Mapping[str, LazyTensor],
    writing: Writing,
) -> None:
    prefix = "text." if isinstance(about, components.CLIPTextModel) else "image."
    named = {to_hugging_face(name): ref for name, ref in tensors.items() if name.startswith(prefix)}
    folder.mkdir()
    _write_json(folder / "config.json", {"architectures": [architecture], **to_dict(about)})
    _write_weights(folder, TRANSFORMERS_WEIGHTS, named, writing)


def _write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    ids = tokenizer.ids()
    padding = next(token for token, number in ids.items() if number == PAD_ID)
    unknown = END if tokenizer.vocabulary is None else tokenizer.vocabulary.unknown
    special = {
        "bos_token": START,
        "eos_token": END,
        "unk_token": unknown,
        "pad_token": padding,
    }
    about = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": tokenizer.context_length,
        "do_lower_case": True,
        "add_prefix_space": False,
        "errors": "replace",
        **special,
    }
    folder.mkdir()
    vocabulary = json.dumps(ids, ensure_ascii=False)
    (folder / "vocab.json").write_text(vocabulary, encoding="utf-8")
    merges = VERSION_LINE.encode() + tokenizer.merges_file()
    (folder / "merges.txt").write_bytes(merges)
    _write_json(folder / "tokenizer_config.json", about)
    _write_json(folder / "special_tokens_map.json", special)


def _write_component(
    folder: Path, about: object, tensors: Mapping[str, LazyTensor], writing: Writing
) -> None:
    folder.mkdir()
    _write_json(folder / "config.json", _of_diffusers(about))
    _write_weights(folder, DIFFUSERS_WEIGHTS, tensors, writing)


def _of_diffusers(about: object) -> dict[str, Any]:
    values = {name: value for name, value in to_dict(about).items() if name != "_name_or_path"}
    return values | {"_diffusers_version": DIFFUSERS_VERSION}


def _write_weights(
    folder: Path, stem: str, tensors: Mapping[str, LazyTensor], writing: Writing
) -> None:
    progress: Callable[[str], None] = writing.progress
    write_sharded(
        folder,
        stem,
        tensors,
        dtype=writing.dtype,
        shard_bytes=writing.shard_bytes,
        progress=lambda name: progress(f"{folder.name}/{name}"),
    )


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
