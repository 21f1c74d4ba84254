"""LoRA weights as a file: safetensors, with the names that diffusers and PEFT give them.

`unet.LAYER.lora_A.weight` and `unet.LAYER.lora_B.weight` for a U-Net, `prior.LAYER...` for a prior.
diffusers' remark in the header has rank and alpha; ours has the stage that it is for and a
fingerprint of the weights that it was trained beside.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from unclip.errors import CheckpointError, InputError, first_ten, shown
from unclip.mapped import LazyTensor
from unclip.nn.lora import LoraConfig, product
from unclip.safetensors_file import open_safetensors, read_remarks

FILE = "pytorch_lora_weights.safetensors"
"""The name that diffusers looks for in a folder."""
OURS = "unclip"
DIFFUSERS = "lora_adapter_metadata"
PART = re.compile(r"(unet|prior)\.(.+)\.(lora_A\.weight|lora_B\.weight|alpha)")
STAGE = re.compile(r"prior|decoder|upsampler_\d{1,5}")
SAMPLES = 4
"""Numbers of each tensor that the fingerprint looks at."""


class Pair(NamedTuple):
    """What one layer learned."""

    lora_A: Float[Tensor, "rank in ..."]
    lora_B: Float[Tensor, "out rank ..."]
    scale: float
    """What the product counts: alpha / rank."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight that it is added to."""
        return (len(self.lora_B), *self.lora_A.shape[1:])


@dataclass(frozen=True)
class Lora:
    """What a file holds."""

    name: str
    hash: str
    """Names the file's content in 16 hexadecimal digits."""
    stage: str
    """`prior`, `decoder` or `upsampler_` and its size."""
    base: str | None
    """Fingerprint of the weights that it was trained beside; None where another program did."""
    base_name: str | None
    pairs: dict[str, Pair]
    """By the layers' names in our stage."""

    def delta(self, layer: str, scale: float) -> Float[Tensor, "out in ..."]:
        """What is added to a layer's weight, in float32."""
        pair = self.pairs[layer]
        return product(pair.lora_A, pair.lora_B) * (pair.scale * scale)


def parse_lora(text: str | Path) -> tuple[Path, float]:
    """Reads `FILE` or `FILE:SCALE`; a folder stands for the file that training left in it.

    Raises:
        InputError: there is no such file, or the scale is no finite number.
    """
    if isinstance(text, Path) or os.path.exists(text):
        return _find(Path(text)), 1.0
    name, colon, number = text.rpartition(":")
    if not colon or not os.path.exists(name):
        return _find(Path(text)), 1.0
    try:
        scale = float(number)
    except ValueError:
        scale = math.nan
    if not math.isfinite(scale):
        raise InputError(f"the scale of the LoRA {name} is {number!r}, expected a number")
    return _find(Path(name)), scale


def _find(path: Path) -> Path:
    for place in (path, path / FILE, path / "final" / FILE):
        if os.path.isfile(place):
            return place
    raise InputError(
        f"there is no LoRA {path}, expected a safetensors file, or a folder with {FILE}"
    )


def write_lora(
    path: Path,
    stage: str,
    config: LoraConfig,
    tensors: Mapping[str, Tensor],
    about: Mapping[str, str],
) -> None:
    """Writes a stage's adapters, `LAYER.lora_A.weight` and so on.

    Args:
        about: `name`, `base` and `base_name` of a `Lora`.

    Raises:
        OSError: it cannot be written.
    """
    # The U-Net's layers have its name in front already.
    prefix, before = ("prior", "prior.") if stage == "prior" else ("unet", "")
    layers = {name.rpartition(".lora_")[0] for name in tensors}
    adapter = {
        "r": config.rank,
        "lora_alpha": config.rank * config.scale,
        "target_modules": sorted(layer.removeprefix("unet.") for layer in layers),
    }
    remarks = {
        "format": "pt",
        DIFFUSERS: json.dumps({f"{prefix}.{key}": value for key, value in adapter.items()}),
        OURS: json.dumps({"stage": stage, **about}),
    }
    ready = {
        f"{before}{name}": tensor.detach().float().cpu().contiguous()
        for name, tensor in tensors.items()
    }
    try:
        save_file(ready, path, metadata=remarks)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def read_lora(path: Path) -> Lora:
    """Reads a file; whether it fits a model is another question (`check_lora`).

    Raises:
        CheckpointError: it is no safetensors file of LoRA weights, or of a kind that is not known
            here.
    """
    refs, remarks = open_safetensors(path), read_remarks(path)
    ours, adapter = _object(remarks.get(OURS)), _object(remarks.get(DIFFUSERS))
    parts: dict[tuple[str, str], dict[str, Tensor]] = {}
    unknown = []
    for name, ref in refs.items():
        if (match := PART.fullmatch(name)) is None:
            unknown.append(shown(name))
        else:
            parts.setdefault((match[1], match[2]), {})[match[3]] = ref.load()
    if unknown or not parts:
        found = first_ten(unknown) if unknown else "no tensors"
        raise CheckpointError(
            f"{path} is no LoRA of an unCLIP: expected unet.LAYER or prior.LAYER with "
            f".lora_A.weight and .lora_B.weight, got {found}"
        )
    prefixes = {prefix for prefix, _ in parts}
    if len(prefixes) > 1:
        raise CheckpointError(f"{path} is for both a prior and a U-Net, expected a file for each")
    stage = str(ours.get("stage", "prior" if "prior" in prefixes else "decoder"))
    if not STAGE.fullmatch(stage) or (stage == "prior") != ("prior" in prefixes):
        raise CheckpointError(f"{path} is for the stage {shown(stage)}, its layers are not")
    pairs = {}
    for (prefix, layer), tensors in parts.items():
        own = layer if prefix == "prior" else f"unet.{layer}"
        where = f"{path} is damaged: {shown(own)}"
        pairs[own] = _pair(tensors, _alpha(adapter, prefix, path), where)
    base, base_name, name = (ours.get(key) for key in ("base", "base_name", "name"))
    return Lora(
        name=_short(name) or _short(path.stem) or "unnamed",
        hash=hashlib.sha256(path.read_bytes()).hexdigest()[:16],
        stage=stage,
        base=_short(base),
        base_name=_short(base_name),
        pairs=pairs,
    )


def check_lora(lora: Lora, shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Compares a LoRA's layers with a stage's weights, by name and shape.

    Raises:
        CheckpointError: something differs; the first ten are listed.
    """
    problems = []
    for layer, pair in lora.pairs.items():
        shape = shapes.get(f"{layer}.weight")
        if shape is None:
            problems.append(f"{shown(layer)} is no layer of it")
        elif tuple(shape) != pair.shape:
            problems.append(f"{layer} is {tuple(shape)} there and {pair.shape} here")
    if problems:
        raise CheckpointError(
            f"the LoRA {lora.name} does not fit {where}: {first_ten(problems)}; it is for "
            f"{'another model' if lora.base_name is None else lora.base_name}"
        )


def weights_fingerprint(tensors: Mapping[str, Tensor | LazyTensor]) -> str:
    """Names a stage's weights in 16 hexadecimal digits, by a few numbers of each.

    They are compared as bfloat16 holds them, so that a model has one fingerprint in float32 and
    bfloat16, and in float16 if it is stored in it.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        stored = tensors[name]
        tensor = stored if isinstance(stored, Tensor) else stored.load()
        flat = tensor.detach().reshape(-1)
        if not flat.is_floating_point() or flat.numel() == 0:
            continue
        places = torch.linspace(0, flat.numel() - 1, SAMPLES, dtype=torch.float64).long()
        numbers = flat[places.to(flat.device)].float().bfloat16().float().tolist()
        digest.update(f"{name} {list(tensor.shape)} {numbers}\n".encode())
    return digest.hexdigest()[:16]


def _pair(tensors: dict[str, Tensor], alpha: float | None, where: str) -> Pair:
    """Joins what belongs to one layer.

    Raises:
        CheckpointError: a part is missing, or they do not belong together.
    """
    down, up = tensors.get("lora_A.weight"), tensors.get("lora_B.weight")
    if down is None or up is None:
        raise CheckpointError(f"{where} has lora_A or lora_B alone, expected both")
    rank = len(down) if down.ndim else 0
    fits = down.ndim == up.ndim and down.ndim in (2, 4) and up.shape[1] == rank > 0
    if not fits or any(size != 1 for size in up.shape[2:]):
        raise CheckpointError(
            f"{where} has lora_A {tuple(down.shape)} and lora_B {tuple(up.shape)}, expected "
            "(rank, in) and (out, rank)"
        )
    if not (down.isfinite().all() and up.isfinite().all()):
        raise CheckpointError(f"{where} has numbers that are not finite: train it again")
    if "alpha" in tensors:
        alpha = float(tensors["alpha"].reshape(-1)[0]) if tensors["alpha"].numel() == 1 else None
    return Pair(down, up, 1.0 if alpha is None else alpha / rank)


def _alpha(adapter: Mapping[str, Any], prefix: str, path: Path) -> float | None:
    """PEFT's alpha of the whole file; None where it says none, then it is the rank.

    Raises:
        CheckpointError: it says more than one alpha, or asks for another kind of adapter.
    """
    for key in ("alpha_pattern", "use_rslora", "use_dora"):
        if adapter.get(f"{prefix}.{key}"):
            raise CheckpointError(f"{path} is a LoRA with {key}, which is not read here")
    alpha = adapter.get(f"{prefix}.lora_alpha")
    return float(alpha) if isinstance(alpha, int | float) and math.isfinite(alpha) else None


def _object(text: str | None) -> dict[str, Any]:
    """A remark that is a JSON object; anything else is none."""
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _short(value: object) -> str | None:
    return shown(value)[:100] if isinstance(value, str) and value else None
