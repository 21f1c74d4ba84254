"""CLIP's tensors under our names, from the names of open_clip (and OpenAI) and of Hugging Face,
and back to open_clip's, under which CLIP is trained."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from unclip.errors import CheckpointError

_OPEN_CLIP = {
    r"token_embedding\.weight": "text.token_embedding.weight",
    r"positional_embedding": "text.position_embedding",
    r"ln_final\.(weight|bias)": r"text.final_norm.\1",
    r"text_projection": "text.projection.weight",
    r"visual\.conv1\.weight": "image.patch_embedding.weight",
    r"visual\.class_embedding": "image.class_embedding",
    r"visual\.positional_embedding": "image.position_embedding",
    r"visual\.ln_pre\.(weight|bias)": r"image.pre_norm.\1",
    r"visual\.ln_post\.(weight|bias)": r"image.post_norm.\1",
    r"visual\.proj": "image.projection.weight",
    r"transformer\.resblocks\.(\d+\.)": r"text.blocks.\1",
    r"visual\.transformer\.resblocks\.(\d+\.)": r"image.blocks.\1",
    "logit_scale": "logit_scale",
}
_OPEN_CLIP_BLOCK = {
    "ln_1": "norm1",
    "attn.out_proj": "attn1.to_out.0",
    "ln_2": "norm3",
    "mlp.c_fc": "ff.net.0.proj",
    "mlp.c_proj": "ff.net.2",
}
_OPEN_CLIP_IGNORED = {"input_resolution", "context_length", "vocab_size", "attn_mask"}
_OPEN_CLIP_TRANSPOSED = {"text_projection", "visual.proj"}

_OURS = {
    ours.replace(r"\1", kind): pattern.replace("\\", "").replace("(weight|bias)", kind)
    for pattern, ours in _OPEN_CLIP.items()
    for kind in ("weight", "bias")
}
_OUR_BLOCK = {ours: theirs for theirs, ours in _OPEN_CLIP_BLOCK.items()}

_HUGGING_FACE = {
    r"text_model\.embeddings\.token_embedding\.weight": "text.token_embedding.weight",
    r"text_model\.embeddings\.position_embedding\.weight": "text.position_embedding",
    r"text_model\.final_layer_norm\.(weight|bias)": r"text.final_norm.\1",
    r"text_projection\.weight": "text.projection.weight",
    r"vision_model\.embeddings\.patch_embedding\.weight": "image.patch_embedding.weight",
    r"vision_model\.embeddings\.class_embedding": "image.class_embedding",
    r"vision_model\.embeddings\.position_embedding\.weight": "image.position_embedding",
    r"vision_model\.pre_layrnorm\.(weight|bias)": r"image.pre_norm.\1",
    r"vision_model\.post_layernorm\.(weight|bias)": r"image.post_norm.\1",
    r"visual_projection\.weight": "image.projection.weight",
    r"text_model\.encoder\.layers\.(\d+\.)": r"text.blocks.\1",
    r"vision_model\.encoder\.layers\.(\d+\.)": r"image.blocks.\1",
    "logit_scale": "logit_scale",
}
_HUGGING_FACE_BLOCK = {
    "layer_norm1": "norm1",
    "self_attn.q_proj": "attn1.to_q",
    "self_attn.k_proj": "attn1.to_k",
    "self_attn.v_proj": "attn1.to_v",
    "self_attn.out_proj": "attn1.to_out.0",
    "layer_norm2": "norm3",
    "mlp.fc1": "ff.net.0.proj",
    "mlp.fc2": "ff.net.2",
}
_HUGGING_FACE_IGNORED = {
    "text_model.embeddings.position_ids",
    "vision_model.embeddings.position_ids",
}


def rename_open_clip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames, splits the fused projections, transposes the matrices that stand on the right.

    Raises:
        CheckpointError: a tensor belongs to another architecture.
    """
    found: dict[str, Tensor] = {}
    for source, tensor in tensors.items():
        # open_clip's CustomTextCLIP keeps its text tower one level down.
        name = source.removeprefix("text.")
        if name in _OPEN_CLIP_IGNORED:
            continue
        fused = re.fullmatch(r"(.*\.)attn\.in_proj_(weight|bias)", name)
        if fused:
            prefix = _rename(fused[1], _OPEN_CLIP, {}, source)
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                found[f"{prefix}attn1.to_{letter}.{fused[2]}"] = part
        else:
            ours = _rename(name, _OPEN_CLIP, _OPEN_CLIP_BLOCK, source)
            found[ours] = tensor.T if name in _OPEN_CLIP_TRANSPOSED else tensor
    return _finish(found)


def to_open_clip(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names our tensors as open_clip does: the reverse of `rename_open_clip`.

    Raises:
        CheckpointError: a tensor is none of CLIP's.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        block = re.fullmatch(r"(text|image)\.blocks\.(\d+\.)(.+)\.(weight|bias)", name)
        if block is None:
            theirs = _look_up(name, _OURS, name)
            found[theirs] = tensor.T if theirs in _OPEN_CLIP_TRANSPOSED else tensor
            continue
        tower, number, part, kind = block.groups()
        prefix = f"{'visual.' if tower == 'image' else ''}transformer.resblocks.{number}"
        if part == "attn1.to_q":
            stem = name.removesuffix(f"q.{kind}")
            fused = [tensors[f"{stem}{letter}.{kind}"] for letter in "qkv"]
            found[f"{prefix}attn.in_proj_{kind}"] = torch.cat(fused)
        elif part not in ("attn1.to_k", "attn1.to_v"):
            found[f"{prefix}{_look_up(part, _OUR_BLOCK, name)}.{kind}"] = tensor
    return found


def _look_up(part: str, table: Mapping[str, str], name: str) -> str:
    if part not in table:
        raise CheckpointError(f"{name!r} is no tensor of CLIP's towers")
    return table[part]


def hugging_face_name(name: str) -> str | None:
    """Our name of a tensor of Hugging Face's; None where it is none of the weights.

    Raises:
        CheckpointError: it belongs to another architecture.
    """
    if name in _HUGGING_FACE_IGNORED:
        return None
    return _rename(name, _HUGGING_FACE, _HUGGING_FACE_BLOCK, name)


def rename_hugging_face(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Renames the tensors of a CLIPModel, or of its two halves with projection.

    Raises:
        CheckpointError: a tensor belongs to another architecture.
    """
    names = {name: hugging_face_name(name) for name in tensors}
    return _finish({ours: tensors[name] for name, ours in names.items() if ours is not None})


def _rename(name: str, rules: Mapping[str, str], block: Mapping[str, str], source: str) -> str:
    for pattern, ours in rules.items():
        match = re.match(pattern, name)
        if match is None:
            continue
        rest = name[match.end() :]
        stem, _, kind = rest.rpartition(".")
        if not rest:
            return match.expand(ours)
        if stem in block and kind in ("weight", "bias"):
            return f"{match.expand(ours)}{block[stem]}.{kind}"
    raise CheckpointError(
        f"{source!r} is not part of a CLIP with a plain vision transformer: other architectures "
        "(ResNet, SigLIP, EVA, layer scale, attentional pooling) are not read"
    )


def _finish(found: dict[str, Tensor]) -> dict[str, Tensor]:
    tensors = {name: tensor.detach().float().contiguous() for name, tensor in found.items()}
    if "logit_scale" in tensors:
        tensors["logit_scale"] = tensors["logit_scale"].reshape(())
    return tensors
