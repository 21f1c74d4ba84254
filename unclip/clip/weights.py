"""Other people's CLIP weights under our names: open_clip's, OpenAI's and Hugging Face's.

open_clip and OpenAI share their names; their attention projects q, k and v at once, ours apart.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from unclip.clip.config import CLIPConfig, ImageConfig, TextConfig
from unclip.errors import CheckpointError
from unclip.nn.transformer import Activation

IGNORED = ("input_resolution", "context_length", "vocab_size", "attn_mask")

_OPEN_CLIP = [
    (r"^token_embedding\.", "text.token_embedding."),
    (r"^positional_embedding$", "text.position_embedding"),
    (r"^transformer\.resblocks\.", "text.blocks."),
    (r"^ln_final\.", "text.final_norm."),
    (r"^text_projection$", "text.projection.weight"),
    (r"^visual\.conv1\.", "image.patch_embedding."),
    (r"^visual\.class_embedding$", "image.class_embedding"),
    (r"^visual\.positional_embedding$", "image.position_embedding"),
    (r"^visual\.ln_pre\.", "image.pre_norm."),
    (r"^visual\.transformer\.resblocks\.", "image.blocks."),
    (r"^visual\.ln_post\.", "image.post_norm."),
    (r"^visual\.proj$", "image.projection.weight"),
    (r"\.ln_1\.", ".norm1."),
    (r"\.ln_2\.", ".norm3."),
    (r"\.attn\.out_proj\.", ".attn1.to_out.0."),
    (r"\.mlp\.c_fc\.", ".ff.net.0.proj."),
    (r"\.mlp\.c_proj\.", ".ff.net.2."),
]

_HUGGING_FACE = [
    (r"^text_model\.embeddings\.token_embedding\.", "text.token_embedding."),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "text.position_embedding"),
    (r"^text_model\.encoder\.layers\.", "text.blocks."),
    (r"^text_model\.final_layer_norm\.", "text.final_norm."),
    (r"^text_projection\.", "text.projection."),
    (r"^vision_model\.embeddings\.patch_embedding\.", "image.patch_embedding."),
    (r"^vision_model\.embeddings\.class_embedding$", "image.class_embedding"),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "image.position_embedding"),
    (r"^vision_model\.pre_layrnorm\.", "image.pre_norm."),
    (r"^vision_model\.encoder\.layers\.", "image.blocks."),
    (r"^vision_model\.post_layernorm\.", "image.post_norm."),
    (r"^visual_projection\.", "image.projection."),
    (r"\.layer_norm1\.", ".norm1."),
    (r"\.layer_norm2\.", ".norm3."),
    (r"\.self_attn\.out_proj\.", ".attn1.to_out.0."),
    (r"\.self_attn\.([qkv])_proj\.", r".attn1.to_\1."),
    (r"\.mlp\.fc1\.", ".ff.net.0.proj."),
    (r"\.mlp\.fc2\.", ".ff.net.2."),
]

TRANSPOSED = ("text_projection", "visual.proj")
"""open_clip keeps these as (width, embed); a linear layer has (embed, width)."""


def from_open_clip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames open_clip's or OpenAI's weights and splits the fused projections."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in IGNORED:
            continue
        if name in TRANSPOSED:
            tensor = tensor.T
        new = _rename(name, _OPEN_CLIP)
        fused = re.match(r"(.*)\.attn\.in_proj_(weight|bias)$", new)
        if fused is None:
            renamed[new] = tensor
            continue
        for letter, part in zip("qkv", tensor.chunk(3), strict=True):
            renamed[f"{fused[1]}.attn1.to_{letter}.{fused[2]}"] = part
    return renamed


def from_hugging_face(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the weights of transformers' CLIPModel."""
    return {
        _rename(name, _HUGGING_FACE): tensor
        for name, tensor in tensors.items()
        if not name.endswith("position_ids")
    }


def _rename(name: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def infer_config(
    tensors: Mapping[str, Tensor],
    *,
    activation: Activation,
    text_heads: int | None = None,
    image_heads: int | None = None,
) -> CLIPConfig:
    """Reads a CLIP's shape off its weights (under our names).

    Args:
        activation: weights do not tell it; OpenAI's need quick_gelu.
        text_heads, image_heads: None for 64 dimensions a head, as in all published models.

    Raises:
        CheckpointError: a tensor that the shape is read from is missing.
    """
    try:
        vocab_size, text_width = tensors["text.token_embedding.weight"].shape
        patch = tensors["image.patch_embedding.weight"]
        positions = len(tensors["image.position_embedding"])
        return CLIPConfig(
            embed_dim=len(tensors["text.projection.weight"]),
            activation=activation,
            text=TextConfig(
                width=text_width,
                num_layers=_count_layers(tensors, "text"),
                num_heads=text_heads or text_width // 64,
                mlp_dim=len(tensors["text.blocks.0.ff.net.0.proj.weight"]),
                context_length=len(tensors["text.position_embedding"]),
                vocab_size=vocab_size,
            ),
            image=ImageConfig(
                width=len(patch),
                num_layers=_count_layers(tensors, "image"),
                num_heads=image_heads or len(patch) // 64,
                mlp_dim=len(tensors["image.blocks.0.ff.net.0.proj.weight"]),
                patch_size=patch.shape[-1],
                image_size=round((positions - 1) ** 0.5) * patch.shape[-1],
            ),
        )
    except KeyError as error:
        raise CheckpointError(f"the CLIP weights lack {error}; are they a CLIP's?") from error


def _count_layers(tensors: Mapping[str, Tensor], tower: str) -> int:
    prefix = f"{tower}.blocks."
    return 1 + max(int(name.split(".")[2]) for name in tensors if name.startswith(prefix))
