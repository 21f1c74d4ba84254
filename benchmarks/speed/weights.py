"""Random weights of a shape, once on disk in Karlo's layout, for every engine to load.

Speed doesn't hang on what weights say, but on zeros a matrix product is faster, and a picture that
is black and white would hide an error. So weights are normal, with the variance of one over the
inputs; and as a U-Net that knows no pictures answers anything, of which sampling makes nothing but
black and white, one path through each is laid: its first features hold the input and its negative,
they reach the end by the last residual block's shortcut, and the last convolution takes the noise
to be about what came in (silu(u) - silu(-u) = u). The rest of the network answers on top of that.
"""

import json
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.speed.shapes import CLIP_CONTEXT, Shape
from benchmarks.speed.vocabulary import write_tokenizer
from unclip.errors import DataError

SCHEDULERS = {
    "prior_scheduler": ("sample", "fixed_small_log", 5.0),
    "decoder_scheduler": ("epsilon", "learned_range", 1.0),
    "super_res_scheduler": ("epsilon", "fixed_small_log", 1.0),
}
INDEX = {
    "_class_name": "UnCLIPPipeline",
    "_diffusers_version": "0.11.0.dev0",
    "decoder": ["diffusers", "UNet2DConditionModel"],
    "prior": ["diffusers", "PriorTransformer"],
    "super_res_first": ["diffusers", "UNet2DModel"],
    "super_res_last": ["diffusers", "UNet2DModel"],
    "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
    "text_proj": ["unclip", "UnCLIPTextProjModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    **{name: ["diffusers", "UnCLIPScheduler"] for name in SCHEDULERS},
}
STRAIGHT_GAIN = 0.5
"""Of the laid path: the share of the input that is answered as noise."""
LAST_GAIN = 0.2
"""Of all the rest in the last convolution."""
MARK = "speed.json"
"""Written last; says of which shape the folder is."""
VERSION = 1
"""Of the weights: another one is other pictures."""


def write_weights(folder: Path, shape: Shape) -> Path:
    """Writes the model folder, unless it is there already.

    Raises:
        DataError: something else is there, or it cannot be written.
    """
    mark = {"shape": shape.name, "version": VERSION}
    try:
        if folder.exists() and any(folder.iterdir()):
            if not (folder / MARK).is_file() or json.loads((folder / MARK).read_text()) != mark:
                raise DataError(
                    f"{folder} has no weights of the shape {shape.name}: delete it, or name another"
                )
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder, shape)
        (folder / MARK).write_text(json.dumps(mark))
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"cannot write weights to {folder}: {error}") from error
    return folder


def _write(folder: Path, shape: Shape) -> None:
    for name, (prediction, variance, clip) in SCHEDULERS.items():
        scheduler = {
            "_class_name": "UnCLIPScheduler",
            "_diffusers_version": "0.11.0.dev0",
            "num_train_timesteps": 1000,
            "prediction_type": prediction,
            "variance_type": variance,
            "clip_sample": True,
            "clip_sample_range": clip,
        }
        _json(folder / name / "scheduler_config.json", scheduler)
    write_tokenizer(folder / "tokenizer", shape.text.vocabulary, CLIP_CONTEXT)
    with ThreadPoolExecutor() as pool:
        jobs = [
            pool.submit(_write_component, folder / name, name, config, module, shape.stored)
            for name, config, module in _components(shape)
        ]
        for job in jobs:
            job.result()
    _json(folder / "model_index.json", INDEX)


def _components(shape: Shape) -> Iterator[tuple[str, dict[str, Any], nn.Module]]:
    """Names, configurations and modules on the meta device."""
    from diffusers.models.transformers.prior_transformer import PriorTransformer
    from diffusers.models.unets.unet_2d import UNet2DModel
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.pipelines.deprecated.unclip.text_proj import UnCLIPTextProjModel
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    made: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
        "prior": (PriorTransformer, shape.prior),
        "decoder": (UNet2DConditionModel, shape.decoder),
        "super_res_first": (UNet2DModel, shape.super_res),
        "super_res_last": (UNet2DModel, shape.super_res),
        "text_proj": (UnCLIPTextProjModel, shape.text_proj),
    }
    for name, (kind, config) in made.items():
        with torch.device("meta"):
            module = kind(**config)
        full = {"_class_name": type(module).__name__, "_diffusers_version": "0.11.0.dev0"}
        values = {key: value for key, value in module.config.items() if not key.startswith("_")}
        if name == "super_res_last":
            values["sample_size"] = None  # as in Karlo's own
        yield name, full | values, module
    with torch.device("meta"):
        tower = CLIPTextModelWithProjection(CLIPTextConfig(**shape.text_encoder))
    config = {"architectures": ["CLIPTextModelWithProjection"], "model_type": "clip_text_model"}
    yield "text_encoder", config | shape.text_encoder, tower


def _write_component(
    folder: Path, name: str, config: dict[str, Any], module: nn.Module, stored: str
) -> None:
    # zlib's checksum, unlike hash(), is the same in every process.
    generator = torch.Generator().manual_seed(crc32(name.encode()))
    tensors = {
        key: draw(key, tuple(tensor.shape), generator).to(getattr(torch, stored))
        for key, tensor in module.state_dict().items()
        if not key.endswith("position_ids")
    }
    if "conv_in.weight" in tensors:
        lay_path(tensors, f"up_blocks.{len(config['up_block_types']) - 1}.resnets")
    file = "model" if name == "text_encoder" else "diffusion_pytorch_model"
    _json(folder / "config.json", config)
    save_file(tensors, folder / f"{file}.safetensors", metadata={"format": "pt"})


def draw(key: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draws one tensor by its name and shape."""
    values = torch.randn(shape, generator=generator)
    last = key.rpartition(".")[2]
    if key == "clip_std":
        return 0.5 + values.abs()
    if key in ("clip_mean", "prd_embedding", "learned_classifier_free_guidance_embeddings"):
        return values
    if ("embedding.weight" in key and "_embedding.weight" in key) or key == "positional_embedding":
        return values * 0.1
    if last == "bias":
        return values * 0.05
    if len(shape) == 1:
        return 1 + values * 0.05  # a norm's scale
    gain = LAST_GAIN if key == "conv_out.weight" else 1.0
    return values * (gain / math.sqrt(math.prod(shape[1:])))


def lay_path(tensors: dict[str, Tensor], last_level: str) -> None:
    """Lays the path of the module's docstring, in place; the three colours come first."""
    block = f"{last_level}.{max(int(k.split('.')[3]) for k in tensors if k.startswith(last_level))}"
    first, shortcut, last = (
        tensors[f"{name}.weight"] for name in ("conv_in", f"{block}.conv_shortcut", "conv_out")
    )
    skip = shortcut.shape[1] - first.shape[0]
    for colour in range(3):
        for channel, sign in ((colour, 1), (colour + 3, -1)):
            first[channel] = 0
            first[channel, colour, 1, 1] = sign
            shortcut[channel] = 0
            shortcut[channel, skip + channel] = 1
            last[colour, channel] = 0
            last[colour, channel, 1, 1] = sign * STRAIGHT_GAIN
            tensors[f"{block}.conv2.weight"][channel] *= 0.25


def _json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
