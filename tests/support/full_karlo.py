"""Karlo's folder at full size with random weights, written a tensor at a time.

Names and shapes are those of our own modules, which other tests compare with diffusers'; the files
are the hub's in all but their numbers.
"""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from decoder.config import DecoderConfig
from decoder.model import Decoder
from prior.config import PriorConfig
from prior.model import Prior
from unclip.clip.tokenize import Tokenizer, open_clip_merges
from unclip.nn.initialise import NoFirstWeights
from upsamplers.config import UpsamplerConfig
from upsamplers.model import Upsampler

PARAMETERS = 3_422_157_516
BYTES = 2 * PARAMETERS
POOL = 1_000_003
"""Random numbers that are used again and again, a prime of them: no two rows are alike."""
TEXT_LAYERS, TEXT_WIDTH = 12, 768

Shapes = dict[str, tuple[int, ...]]
UNET = {
    "act_fn": "silu",
    "attention_head_dim": 64,
    "block_out_channels": [320, 640, 960, 1280],
    "layers_per_block": 3,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
}


def text_shapes() -> Shapes:
    """transformers' names of CLIP ViT-L/14's text tower."""
    shapes: Shapes = {
        "text_model.embeddings.token_embedding.weight": (49408, TEXT_WIDTH),
        "text_model.embeddings.position_embedding.weight": (77, TEXT_WIDTH),
        "text_projection.weight": (TEXT_WIDTH, TEXT_WIDTH),
    }
    norms = {"text_model.final_layer_norm": TEXT_WIDTH}
    for layer in range(TEXT_LAYERS):
        at = f"text_model.encoder.layers.{layer}"
        norms |= {f"{at}.layer_norm1": TEXT_WIDTH, f"{at}.layer_norm2": TEXT_WIDTH}
        matrices = {f"self_attn.{part}_proj": (TEXT_WIDTH, TEXT_WIDTH) for part in ("q", "k", "v")}
        matrices |= {"self_attn.out_proj": (TEXT_WIDTH, TEXT_WIDTH)}
        matrices |= {"mlp.fc1": (3072, TEXT_WIDTH), "mlp.fc2": (TEXT_WIDTH, 3072)}
        for name, shape in matrices.items():
            shapes |= {f"{at}.{name}.weight": shape, f"{at}.{name}.bias": shape[:1]}
    for name, width in norms.items():
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return shapes


def network_shapes() -> dict[str, Shapes]:
    """diffusers' components, from our modules on the meta device."""
    with NoFirstWeights(), torch.device("meta"):
        prior, decoder = Prior(PriorConfig()), Decoder(DecoderConfig())
        upsampler = Upsampler(UpsamplerConfig())

    def shapes(module: torch.nn.Module) -> Shapes:
        return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}

    return {
        "prior": shapes(prior),
        "decoder": shapes(decoder.unet),
        "text_proj": shapes(decoder.conditioning),
        "super_res_first": shapes(upsampler.unet),
        "super_res_last": shapes(upsampler.unet),
        "text_encoder": text_shapes(),
    }


def write_folder(folder: Path) -> None:
    """Writes the folder."""
    pool = np.random.default_rng(0).standard_normal(POOL).astype(np.float32)
    for component, shapes in network_shapes().items():
        name = "model" if component == "text_encoder" else "diffusion_pytorch_model"
        (folder / component).mkdir(parents=True)
        write_tensors(folder / component / f"{name}.safetensors", shapes, pool)
    for path, content in configurations().items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(json.dumps(content))
    _write_tokenizer(folder / "tokenizer")


def write_tensors(path: Path, shapes: Shapes, pool: np.ndarray) -> None:
    """Writes a float16 safetensors file of numbers that keep activations near one."""
    header, at = {}, 0
    for name, shape in shapes.items():
        end = at + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            file.write(_values(name, shape, pool))


def _values(name: str, shape: tuple[int, ...], pool: np.ndarray) -> bytes:
    count = math.prod(shape)
    if len(shape) > 1 and not name.startswith("clip_"):
        scale, shift = 1 / math.sqrt(math.prod(shape[1:])), 0.0
    else:
        scale = 0.1
        shift = float(name == "clip_std" or ("norm" in name and name.endswith("weight")))
    numbers = (pool * scale + shift).astype(np.float16)
    return np.resize(numbers, count).tobytes()


def configurations() -> Mapping[str, object]:
    """The JSON files, as the hub's say (the defaults of their classes left out)."""
    unet = {"_class_name": "UNet2DModel", "in_channels": 6, "out_channels": 3} | UNET
    unet |= {"add_attention": False, "attention_head_dim": 8, "sample_size": 256}
    unet |= {"down_block_types": ["ResnetDownsampleBlock2D"] * 4}
    unet |= {"up_block_types": ["ResnetUpsampleBlock2D"] * 4}
    decoder = {"_class_name": "UNet2DConditionModel", "in_channels": 3, "out_channels": 6} | UNET
    decoder |= {"sample_size": 64, "cross_attention_dim": 1536, "class_embed_type": "identity"}
    decoder |= {"resnet_time_scale_shift": "scale_shift"}
    attending = "SimpleCrossAttn{}Block2D"
    decoder |= {
        "down_block_types": ["ResnetDownsampleBlock2D", *[attending.format("Down")] * 3],
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "up_block_types": [*[attending.format("Up")] * 3, "ResnetUpsampleBlock2D"],
    }
    scheduler = {"_class_name": "UnCLIPScheduler"}
    return {
        "model_index.json": _index(),
        "prior/config.json": {"_class_name": "PriorTransformer"},
        "text_proj/config.json": {
            "_class_name": "UnCLIPTextProjModel",
            "time_embed_dim": 1280,
            "cross_attention_dim": 1536,
        },
        "decoder/config.json": decoder,
        "super_res_first/config.json": unet,
        "super_res_last/config.json": unet | {"sample_size": None},
        "prior_scheduler/scheduler_config.json": scheduler
        | {"clip_sample_range": 5.0, "prediction_type": "sample"},
        "decoder_scheduler/scheduler_config.json": scheduler | {"variance_type": "learned_range"},
        "super_res_scheduler/scheduler_config.json": scheduler,
        "text_encoder/config.json": {
            "hidden_size": 768,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
            "projection_dim": 768,
            "eos_token_id": 2,
            "bos_token_id": 0,
            "torch_dtype": "float32",
        },
        "tokenizer/tokenizer_config.json": {"model_max_length": 77, "pad_token": "!"},
    }


def _index() -> dict[str, object]:
    classes = {
        "decoder": "UNet2DConditionModel",
        "prior": "PriorTransformer",
        "super_res_first": "UNet2DModel",
        "super_res_last": "UNet2DModel",
    }
    classes |= {f"{stage}_scheduler": "UnCLIPScheduler" for stage in ("prior", "decoder")}
    classes |= {"super_res_scheduler": "UnCLIPScheduler"}
    index: dict[str, object] = {name: ["diffusers", kind] for name, kind in classes.items()}
    return index | {
        "_class_name": "UnCLIPPipeline",
        "_diffusers_version": "0.11.0.dev0",
        "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
        "text_proj": ["unclip", "UnCLIPTextProjModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    }


def _write_tokenizer(folder: Path) -> None:
    """CLIP's own vocabulary; that ours is transformers' is tested elsewhere."""
    tokenizer = Tokenizer(open_clip_merges(), 49408, 77, "hugging_face")
    (folder / "vocab.json").write_text(json.dumps(tokenizer.ids()), encoding="utf-8")
    lines = tokenizer.merges_file().decode("utf-8")
    (folder / "merges.txt").write_text(f"#version: 0.2\n{lines}", encoding="utf-8")
