"""Where our tensors stand in Kakao's files, name by name.

Our networks have diffusers' names. Kakao's are those of guided-diffusion (the U-Nets) and of a
transformer after OpenAI's CLIP (the prior); diffusers' convert_kakao_brain_unclip_to_diffusers.py
is the published map between the two.
"""

import re
from dataclasses import dataclass

from unclip.nn.unet import UNetConfig


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor of ours stands."""

    name: str
    """Kakao's name."""
    count: int = 1
    """Matrices that stand in it, head by head (2 keys and values, 3 with queries)."""
    index: int = 0
    """Which of them it is."""
    kernel: bool = False
    """It is a convolution of kernel 1 over a row of positions: a last axis of one element."""


_PRIOR = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "proj_in": "clip_img_proj",
    "embedding_proj": "text_emb_proj",
    "encoder_hidden_states_proj": "text_enc_proj",
    "norm_out": "final_ln",
    "proj_to_clip_embeddings": "out_proj",
}
_PRIOR_BLOCK = {
    "norm1": "ln_1",
    "attn1.to_out.0": "attn.c_proj",
    "norm3": "ln_2",
    "ff.net.0.proj": "mlp.c_fc",
    "ff.net.2": "mlp.c_proj",
}
_QUERY_KEY_VALUE = ("to_q", "to_k", "to_v")


def prior_place(name: str) -> Place:
    """Where a tensor of `prior.model.Prior` stands, its whitening apart."""
    if name == "positional_embedding":
        return Place(name)
    if name == "prd_embedding":
        return Place("prd_emb")
    stem, _, kind = name.rpartition(".")
    block = re.fullmatch(r"transformer_blocks\.(\d+)\.(.+)", stem)
    if block is None:
        return Place(f"{_PRIOR[stem]}.{kind}")
    prefix, part = f"transformer.resblocks.{block[1]}.", block[2]
    letter = part.removeprefix("attn1.")
    if letter in _QUERY_KEY_VALUE:
        return Place(f"{prefix}attn.c_qkv.{kind}", 3, _QUERY_KEY_VALUE.index(letter))
    return Place(f"{prefix}{_PRIOR_BLOCK[part]}.{kind}")


_CONDITIONING = {
    "encoder_hidden_states_proj": "text_seq_proj.0",
    "text_encoder_hidden_states_norm": "text_seq_proj.1",
    "clip_extra_context_tokens_proj": "clip_tok_proj",
    "embedding_proj": "text_feat_proj",
    "clip_image_embeddings_project_to_time_embeddings": "clip_emb",
}


def conditioning_place(name: str) -> Place:
    """Where a tensor of `decoder.conditioning.ClipConditioning` stands."""
    if name == "learned_classifier_free_guidance_embeddings":
        return Place("cf_param")
    stem, _, kind = name.rpartition(".")
    return Place(f"{_CONDITIONING[stem]}.{kind}")


_UNET = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESBLOCK = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ADDED = ("add_k_proj", "add_v_proj")


def unet_place(name: str, config: UNetConfig) -> Place:
    """Where a tensor of `unclip.nn.unet.UNet` stands."""
    stem, _, kind = name.rpartition(".")
    if stem in _UNET:
        return Place(f"{_UNET[stem]}.{kind}")
    found = re.fullmatch(
        r"(?:(down|up)_blocks\.(\d+)|mid_block)\.(\w+)\.(\d+)\.(\w+(?:\.0)?)", stem
    )
    assert found is not None, f"{name} is no tensor of a U-Net"
    way, level, what, number, part = found.groups()
    block = _block(way, int(level or 0), what, int(number), config)
    if what != "attentions":
        return Place(f"{block}.{_RESBLOCK[part]}.{kind}")
    is_weight = kind == "weight"
    if part in _QUERY_KEY_VALUE:
        return Place(f"{block}.qkv.{kind}", 3, _QUERY_KEY_VALUE.index(part), is_weight)
    if part in _ADDED:
        return Place(f"{block}.encoder_kv.{kind}", 2, _ADDED.index(part), is_weight)
    if part == "group_norm":
        return Place(f"{block}.norm.{kind}")
    return Place(f"{block}.proj_out.{kind}", kernel=is_weight)


def _block(way: str | None, level: int, what: str, number: int, config: UNetConfig) -> str:
    """Kakao numbers the blocks through, and what is in one: a residual block, its attention, what
    doubles the picture."""
    attention, blocks = config.attention, config.depth + 1
    if way is None:
        attends = attention[-1] if config.middle_attention is None else config.middle_attention
        second = 2 if attends else 1
        return f"middle_block.{1 if what == 'attentions' else second * number}"
    if what == "downsamplers":
        return f"input_blocks.{blocks * (level + 1)}.0"
    if what == "upsamplers":
        attends = attention[len(attention) - 1 - level]
        return f"output_blocks.{blocks * (level + 1) - 1}.{2 if attends else 1}"
    inside = 1 if what == "attentions" else 0
    if way == "down":
        return f"input_blocks.{1 + blocks * level + number}.{inside}"
    return f"output_blocks.{blocks * level + number}.{inside}"
