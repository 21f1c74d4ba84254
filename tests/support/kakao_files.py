"""Karlo's files as Kakao published them, made of small modules of diffusers and transformers.

The names are given by walking through the blocks as Kakao's own constructors add them, and what
Kakao keeps in one matrix is laid together head by head: none of it by the map that is tested.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from diffusers.models.transformers.prior_transformer import PriorTransformer
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

HEAD = 64
EMBED, LENGTH, VOCAB = 64, 12, 700
FILES = {
    "prior": "prior-ckpt-step=01000000-of-01000000.ckpt",
    "decoder": "decoder-ckpt-step=01000000-of-01000000.ckpt",
    "upsampler": "improved-sr-ckpt-step=1.2M.ckpt",
    "clip": "ViT-L-14.pt",
    "statistics": "ViT-L-14_stats.th",
}
State = dict[str, Tensor]


def modules(device: str = "meta") -> dict[str, nn.Module]:
    """Small networks of Karlo's structure, as diffusers and transformers build them."""
    with torch.device(device):
        return {
            "prior": PriorTransformer(
                num_attention_heads=2,
                attention_head_dim=HEAD,
                num_layers=2,
                embedding_dim=EMBED,
                num_embeddings=LENGTH,
            ),
            "text_proj": UnCLIPTextProjModel(
                clip_embeddings_dim=EMBED, time_embed_dim=4 * 64, cross_attention_dim=96
            ),
            "decoder": UNet2DConditionModel(
                sample_size=64,
                in_channels=3,
                out_channels=6,
                block_out_channels=(64, 128, 192, 256),
                layers_per_block=3,
                down_block_types=("ResnetDownsampleBlock2D", *["SimpleCrossAttnDownBlock2D"] * 3),
                mid_block_type="UNetMidBlock2DSimpleCrossAttn",
                up_block_types=(*["SimpleCrossAttnUpBlock2D"] * 3, "ResnetUpsampleBlock2D"),
                attention_head_dim=HEAD,
                cross_attention_dim=96,
                class_embed_type="identity",
                resnet_time_scale_shift="scale_shift",
            ),
            "super_res_first": _super_res(),
            "super_res_last": _super_res(),
            "text_encoder": CLIPTextModelWithProjection(
                CLIPTextConfig(
                    vocab_size=VOCAB,
                    hidden_size=EMBED,
                    intermediate_size=4 * EMBED,
                    projection_dim=EMBED,
                    num_hidden_layers=2,
                    num_attention_heads=EMBED // HEAD,
                    max_position_embeddings=LENGTH,
                    bos_token_id=0,
                    eos_token_id=2,
                )
            ),
            "image_encoder": CLIPVisionModelWithProjection(
                CLIPVisionConfig(
                    hidden_size=HEAD,
                    intermediate_size=4 * HEAD,
                    projection_dim=EMBED,
                    num_hidden_layers=2,
                    num_attention_heads=1,
                    image_size=28,
                    patch_size=14,
                )
            ),
        }


def _super_res() -> UNet2DModel:
    return UNet2DModel(
        sample_size=256,
        in_channels=6,
        out_channels=3,
        block_out_channels=(32, 64, 96, 128),
        layers_per_block=3,
        down_block_types=("ResnetDownsampleBlock2D",) * 4,
        up_block_types=("ResnetUpsampleBlock2D",) * 4,
        add_attention=False,
        norm_eps=1e-5,
    )


def states(dtype: torch.dtype = torch.float16) -> dict[str, State]:
    """The modules' tensors, all of them random: what begins at zero would not tell its place."""
    generator = torch.Generator().manual_seed(1)
    return {
        part: {
            name: (torch.randn(tensor.shape, generator=generator) * 0.05).to(dtype)
            for name, tensor in module.state_dict().items()
        }
        for part, module in modules().items()
    }


def kakao_files(state: Mapping[str, State]) -> dict[str, object]:
    """What each of Kakao's files holds, the CLIP apart."""
    prior = dict(state["prior"])
    mean, std = prior.pop("clip_mean")[0], prior.pop("clip_std")[0]
    decoder = _unet(state["decoder"], (False, True, True, True)) | _text_proj(state["text_proj"])
    upsampler = {
        f"{prefix}.{name}": tensor
        for prefix, part in (("model_first_steps", "first"), ("model_last_step", "last"))
        for name, tensor in _unet(state[f"super_res_{part}"], (False,) * 4).items()
    }
    return {
        "prior": {"state_dict": {f"model.{name}": x for name, x in _prior(prior).items()}},
        "decoder": {"state_dict": {f"model.{name}": x for name, x in decoder.items()}},
        "upsampler": {"state_dict": upsampler},
        "statistics": (mean, std),
    }


def write_kakao(folder: Path, state: Mapping[str, State]) -> Path:
    """Writes the whole folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, content in kakao_files(state).items():
        torch.save(content, folder / FILES[part])
    save_script(folder / FILES["clip"], _clip(state["text_encoder"], state["image_encoder"]))
    return folder


def _fuse(parts: Sequence[Tensor]) -> Tensor:
    """One head of each, then the next head of each."""
    rows = []
    for head in range(len(parts[0]) // HEAD):
        rows += [part[head * HEAD : (head + 1) * HEAD] for part in parts]
    return torch.cat(rows)


def _copy(out: State, target: str, source: State, name: str) -> None:
    for kind in ("weight", "bias"):
        out[f"{target}.{kind}"] = source[f"{name}.{kind}"]


def _prior(source: State) -> State:
    out = {
        "positional_embedding": source["positional_embedding"],
        "prd_emb": source["prd_embedding"],
    }
    for target, name in (
        ("time_embed.0", "time_embedding.linear_1"),
        ("time_embed.2", "time_embedding.linear_2"),
        ("clip_img_proj", "proj_in"),
        ("text_emb_proj", "embedding_proj"),
        ("text_enc_proj", "encoder_hidden_states_proj"),
        ("final_ln", "norm_out"),
        ("out_proj", "proj_to_clip_embeddings"),
    ):
        _copy(out, target, source, name)
    for layer in range(2):
        target, name = f"transformer.resblocks.{layer}", f"transformer_blocks.{layer}"
        _copy(out, f"{target}.ln_1", source, f"{name}.norm1")
        _copy(out, f"{target}.attn.c_proj", source, f"{name}.attn1.to_out.0")
        _copy(out, f"{target}.ln_2", source, f"{name}.norm3")
        _copy(out, f"{target}.mlp.c_fc", source, f"{name}.ff.net.0.proj")
        _copy(out, f"{target}.mlp.c_proj", source, f"{name}.ff.net.2")
        for kind in ("weight", "bias"):
            parts = [source[f"{name}.attn1.to_{letter}.{kind}"] for letter in "qkv"]
            out[f"{target}.attn.c_qkv.{kind}"] = _fuse(parts)
    return out


def _text_proj(source: State) -> State:
    out = {"cf_param": source["learned_classifier_free_guidance_embeddings"]}
    for target, name in (
        ("text_seq_proj.0", "encoder_hidden_states_proj"),
        ("text_seq_proj.1", "text_encoder_hidden_states_norm"),
        ("clip_tok_proj", "clip_extra_context_tokens_proj"),
        ("text_feat_proj", "embedding_proj"),
        ("clip_emb", "clip_image_embeddings_project_to_time_embeddings"),
    ):
        _copy(out, target, source, name)
    return out


def _unet(source: State, attends: tuple[bool, ...]) -> State:
    out: State = {}
    _copy(out, "time_embed.0", source, "time_embedding.linear_1")
    _copy(out, "time_embed.2", source, "time_embedding.linear_2")

    def resblock(name: str) -> State:
        block: State = {}
        _copy(block, "in_layers.0", source, f"{name}.norm1")
        _copy(block, "in_layers.2", source, f"{name}.conv1")
        _copy(block, "emb_layers.1", source, f"{name}.time_emb_proj")
        _copy(block, "out_layers.0", source, f"{name}.norm2")
        _copy(block, "out_layers.3", source, f"{name}.conv2")
        if f"{name}.conv_shortcut.weight" in source:
            _copy(block, "skip_connection", source, f"{name}.conv_shortcut")
        return block

    def attention(name: str) -> State:
        block: State = {}
        _copy(block, "norm", source, f"{name}.group_norm")
        _copy(block, "proj_out", source, f"{name}.to_out.0")
        for kind in ("weight", "bias"):
            own = [source[f"{name}.to_{letter}.{kind}"] for letter in "qkv"]
            block[f"qkv.{kind}"] = _fuse(own)
            added = [source[f"{name}.add_{letter}_proj.{kind}"] for letter in "kv"]
            block[f"encoder_kv.{kind}"] = _fuse(added)
        for matrix in ("qkv", "encoder_kv", "proj_out"):
            block[f"{matrix}.weight"] = block[f"{matrix}.weight"][:, :, None]
        return block

    def append(blocks: str, layers: Sequence[State]) -> None:
        """As nn.ModuleList and nn.Sequential number them."""
        number = len({name.split(".")[1] for name in out if name.startswith(f"{blocks}.")})
        for place, layer in enumerate(layers):
            out.update({f"{blocks}.{number}.{place}.{name}": x for name, x in layer.items()})

    first: State = {}
    for kind in ("weight", "bias"):
        first[kind] = source[f"conv_in.{kind}"]
    append("input_blocks", [first])
    for level in range(4):
        for number in range(3):
            layers = [resblock(f"down_blocks.{level}.resnets.{number}")]
            if attends[level]:
                layers.append(attention(f"down_blocks.{level}.attentions.{number}"))
            append("input_blocks", layers)
        if level < 3:
            append("input_blocks", [resblock(f"down_blocks.{level}.downsamplers.0")])
    middle = [resblock("mid_block.resnets.0"), resblock("mid_block.resnets.1")]
    if attends[3]:
        middle.insert(1, attention("mid_block.attentions.0"))
    for place, layer in enumerate(middle):
        out.update({f"middle_block.{place}.{name}": x for name, x in layer.items()})
    for level in range(4):
        for number in range(4):
            layers = [resblock(f"up_blocks.{level}.resnets.{number}")]
            if attends[3 - level]:
                layers.append(attention(f"up_blocks.{level}.attentions.{number}"))
            if number == 3 and level < 3:
                layers.append(resblock(f"up_blocks.{level}.upsamplers.0"))
            append("output_blocks", layers)
    _copy(out, "out.0", source, "conv_norm_out")
    _copy(out, "out.2", source, "conv_out")
    return out


def _clip(text: State, image: State) -> State:
    """OpenAI's names; matrices that OpenAI multiplies from the left stand transposed."""
    out = {
        "positional_embedding": text["text_model.embeddings.position_embedding.weight"],
        "token_embedding.weight": text["text_model.embeddings.token_embedding.weight"],
        "text_projection": text["text_projection.weight"].T.contiguous(),
        "logit_scale": torch.tensor(4.25),
        "visual.class_embedding": image["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": image["vision_model.embeddings.position_embedding.weight"],
        "visual.proj": image["visual_projection.weight"].T.contiguous(),
        "visual.conv1.weight": image["vision_model.embeddings.patch_embedding.weight"],
    }
    _copy(out, "ln_final", text, "text_model.final_layer_norm")
    _copy(out, "visual.ln_pre", image, "vision_model.pre_layrnorm")
    _copy(out, "visual.ln_post", image, "vision_model.post_layernorm")
    for prefix, source, tower in (("", text, "text_model"), ("visual.", image, "vision_model")):
        for layer in range(2):
            target = f"{prefix}transformer.resblocks.{layer}"
            name = f"{tower}.encoder.layers.{layer}"
            _copy(out, f"{target}.ln_1", source, f"{name}.layer_norm1")
            _copy(out, f"{target}.ln_2", source, f"{name}.layer_norm2")
            _copy(out, f"{target}.attn.out_proj", source, f"{name}.self_attn.out_proj")
            _copy(out, f"{target}.mlp.c_fc", source, f"{name}.mlp.fc1")
            _copy(out, f"{target}.mlp.c_proj", source, f"{name}.mlp.fc2")
            for kind in ("weight", "bias"):
                parts = [source[f"{name}.self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
                out[f"{target}.attn.in_proj_{kind}"] = torch.cat(parts)
    return out


class Node(nn.Module):
    """One level of a tree of modules."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def save_script(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes a TorchScript archive with parameters of these names, and OpenAI's three numbers."""
    root = Node()
    for name, tensor in tensors.items():
        *ways, last = name.split(".")
        node = root
        for way in ways:
            if not hasattr(node, way):
                node.add_module(way, Node())
            node = node.get_submodule(way)
        node.register_parameter(last, nn.Parameter(tensor, requires_grad=False))
    numbers = {"input_resolution": 28, "context_length": LENGTH, "vocab_size": VOCAB}
    for name, number in numbers.items():
        root.register_buffer(name, torch.tensor(number))
    torch.jit.save(torch.jit.script(root), path)
