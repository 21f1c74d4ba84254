"""CLIP weights of open_clip, OpenAI and Hugging Face under our names, and the config they imply.

open_clip and OpenAI use the same names, with queries, keys and values in one matrix. The number of
heads and the kind of GELU stand in no weights: a library's config says them; OpenAI's are known.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from unclip.clip.config import (
    OPENAI_MEAN,
    OPENAI_STD,
    Clean,
    CLIPConfig,
    ImageConfig,
    TextConfig,
)
from unclip.clip.names import rename_hugging_face, rename_open_clip
from unclip.errors import CheckpointError

Activation = Literal["gelu", "quick_gelu"]
Triple = tuple[float, float, float]
OPENAI_HEAD_DIM = 64
MAX_LOGIT_SCALE = math.log(100)

_OPEN_CLIP_TEXT_OPTIONS = {
    "context_length",
    "vocab_size",
    "width",
    "heads",
    "layers",
    "mlp_ratio",
    "norm_kwargs",
}
_OPEN_CLIP_VISION_OPTIONS = {
    "image_size",
    "patch_size",
    "width",
    "head_width",
    "layers",
    "mlp_ratio",
    "norm_kwargs",
    "patch_dropout",
}
"""Options that are read, or that the weights tell; others may change the arithmetic."""
_HUGGING_FACE_DEFAULTS = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
"""What an older config.json leaves out."""


def from_open_clip(
    tensors: Mapping[str, Tensor],
    model_config: Mapping[str, Any],
    *,
    quick_gelu: bool | None = None,
    mean: Triple = OPENAI_MEAN,
    std: Triple = OPENAI_STD,
) -> tuple[CLIPConfig, dict[str, Tensor]]:
    """Converts an open_clip CLIP with a vision transformer.

    Args:
        model_config: what `open_clip.get_model_config(NAME)` gives, or the `model_cfg` of an
            `open_clip_config.json`: it says how many heads there are.
        quick_gelu: None takes what `model_config` says, and GELU if it says nothing. Pass True for
            OpenAI's weights under a name without `-quickgelu`.

    Raises:
        CheckpointError: the weights are of another architecture.
    """
    text, vision = model_config.get("text_cfg"), model_config.get("vision_cfg")
    if not isinstance(text, Mapping) or not isinstance(vision, Mapping):
        raise CheckpointError(
            f"open_clip's config has {', '.join(model_config)}, expected text_cfg and vision_cfg: "
            "pass the content of its model_cfg"
        )
    _check_options(text, _OPEN_CLIP_TEXT_OPTIONS)
    _check_options(vision, _OPEN_CLIP_VISION_OPTIONS)
    text_eps, vision_eps = (
        (cfg.get("norm_kwargs") or {}).get("eps", 1e-5) for cfg in (text, vision)
    )
    if text_eps != vision_eps:
        raise CheckpointError(
            f"this CLIP's towers differ in eps, {text_eps} and {vision_eps}: expected one"
        )
    if quick_gelu is None:
        quick_gelu = bool(model_config.get("quick_gelu"))
    found = rename_open_clip(tensors)
    config = _infer(
        found,
        text_heads=text.get("heads", 8),
        image_heads=_get(found, "image.class_embedding", 1).numel() // vision.get("head_width", 64),
        activation="quick_gelu" if quick_gelu else "gelu",
        eps=text_eps,
        pixels=(mean, std),
        clean="open_clip",
    )
    return config, found


def from_openai(tensors: Mapping[str, Tensor]) -> tuple[CLIPConfig, dict[str, Tensor]]:
    """Converts OpenAI's original weights of a CLIP with a vision transformer.

    Raises:
        CheckpointError: the weights are of another architecture.
    """
    heads = _get(tensors, "ln_final.weight", 1).numel() // OPENAI_HEAD_DIM
    model_config = {"text_cfg": {"heads": heads}, "vision_cfg": {"head_width": OPENAI_HEAD_DIM}}
    return from_open_clip(tensors, model_config, quick_gelu=True)


def from_hugging_face(
    tensors: Mapping[str, Tensor],
    text_config: Mapping[str, Any],
    vision_config: Mapping[str, Any],
    *,
    mean: Triple = OPENAI_MEAN,
    std: Triple = OPENAI_STD,
) -> tuple[CLIPConfig, dict[str, Tensor]]:
    """Converts a transformers CLIPModel, or its two halves with projection.

    Args:
        tensors: of one CLIPModel, or of CLIPTextModelWithProjection and
            CLIPVisionModelWithProjection together; then there is no logit scale, and CLIP's limit
            of 100 stands in.
        text_config: the `text_config` of a CLIPModel's config, or the text model's own config.
        vision_config: likewise.

    Raises:
        CheckpointError: the weights are of another architecture, or the towers disagree.
    """
    text, vision = (
        {**_HUGGING_FACE_DEFAULTS, "num_attention_heads": heads, **config}
        for heads, config in ((8, text_config), (12, vision_config))
    )
    for key in ("hidden_act", "layer_norm_eps"):
        if text[key] != vision[key]:
            raise CheckpointError(
                f"this CLIP's towers differ in {key}, {text[key]} and {vision[key]}: expected one"
            )
    if text["hidden_act"] not in ("gelu", "quick_gelu"):
        got = text["hidden_act"]
        raise CheckpointError(f"this CLIP has hidden_act {got!r}, expected gelu or quick_gelu")
    found = {"logit_scale": torch.tensor(MAX_LOGIT_SCALE), **rename_hugging_face(tensors)}
    config = _infer(
        found,
        text_heads=text["num_attention_heads"],
        image_heads=vision["num_attention_heads"],
        activation=text["hidden_act"],
        eps=text["layer_norm_eps"],
        pixels=(mean, std),
        clean="hugging_face",
    )
    return config, found


def _check_options(options: Mapping[str, Any], known: set[str]) -> None:
    for name, value in options.items():
        if value and name not in known:
            raise CheckpointError(
                f"this CLIP has open_clip's option {name} = {value!r}, which is not read: expected "
                "a plain vision transformer and CLIP's own text transformer"
            )


def _infer(
    tensors: Mapping[str, Tensor],
    *,
    text_heads: int,
    image_heads: int,
    activation: Activation,
    eps: float,
    pixels: tuple[Triple, Triple],
    clean: Clean,
) -> CLIPConfig:
    """Reads the sizes off the tensors."""
    vocab_size, text_width = _get(tensors, "text.token_embedding.weight", 2).shape
    image_width, _, patch_size, _ = _get(tensors, "image.patch_embedding.weight", 4).shape
    num_patches = len(_get(tensors, "image.position_embedding", 2)) - 1
    text = TextConfig(
        width=text_width,
        num_layers=_count_blocks(tensors, "text"),
        num_heads=text_heads,
        mlp_dim=len(_get(tensors, "text.blocks.0.ff.net.0.proj.bias", 1)),
        context_length=len(_get(tensors, "text.position_embedding", 2)),
        vocab_size=vocab_size,
        clean=clean,
    )
    image = ImageConfig(
        width=image_width,
        num_layers=_count_blocks(tensors, "image"),
        num_heads=image_heads,
        mlp_dim=len(_get(tensors, "image.blocks.0.ff.net.0.proj.bias", 1)),
        patch_size=patch_size,
        image_size=patch_size * math.isqrt(num_patches),
        mean=pixels[0],
        std=pixels[1],
    )
    embed_dim = len(_get(tensors, "text.projection.weight", 2))
    return CLIPConfig(embed_dim=embed_dim, text=text, image=image, activation=activation, eps=eps)


def _get(tensors: Mapping[str, Tensor], name: str, axes: int) -> Tensor:
    if name not in tensors:
        raise CheckpointError(
            f"these weights lack {name}, so they are no whole CLIP with a vision transformer"
        )
    if tensors[name].ndim != axes:
        raise CheckpointError(
            f"these weights have {name} of shape {tuple(tensors[name].shape)}, expected {axes} axes"
        )
    return tensors[name]


def _count_blocks(tensors: Mapping[str, Tensor], tower: str) -> int:
    prefix = f"{tower}.blocks."
    return len({name.split(".")[2] for name in tensors if name.startswith(prefix)})
