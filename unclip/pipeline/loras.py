"""LoRA weights into a model: merged in float32, before anything is cast, packed or moved.

A stage with a LoRA in its weights is a stage like any other, so that every fast path runs as it
does without, at no cost.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from unclip.errors import CheckpointError
from unclip.karlo.opened import OpenModel
from unclip.lora_file import Lora, check_lora, parse_lora, read_lora, weights_fingerprint
from unclip.mapped import LazyTensor
from unclip.pipeline.folders import ModelStages
from unclip.pipeline.registry import Components
from unclip.provenance.record import LoraRecord

Weights = Mapping[str, Tensor | LazyTensor]
M = TypeVar("M", ModelStages, OpenModel)


@dataclass(frozen=True)
class ChosenLora:
    """A LoRA and how much of it is wanted."""

    lora: Lora
    scale: float

    @property
    def record(self) -> LoraRecord:
        """What a picture says of it."""
        return LoraRecord(name=self.lora.name, hash=self.lora.hash, scale=self.scale)


def read_loras(wanted: Sequence[str | Path]) -> list[ChosenLora]:
    """Reads files; each is `FILE` or `FILE:SCALE`.

    Raises:
        InputError: there is no such file, or a scale is no number.
        CheckpointError: a file holds no LoRA weights.
    """
    places = [parse_lora(text) for text in wanted]
    return [ChosenLora(read_lora(path), scale) for path, scale in places]


@dataclass(frozen=True, slots=True)
class _Merged:
    """A weight in a file and what is added to it: computed when it is asked for, in float32."""

    ref: LazyTensor
    added: Tensor
    dtype: torch.dtype = torch.float32

    @property
    def shape(self) -> tuple[int, ...]:
        return self.ref.shape

    def load(self) -> Tensor:
        merged = self.ref.load().float() + self.added
        self.ref.release()
        return merged

    def release(self) -> None:
        """The file's pages are given back already."""


def merge_stages(model: M, loras: Sequence[ChosenLora]) -> tuple[M, dict[str, str]]:
    """Returns a model's stages with LoRAs in their weights, and the fingerprints that those stages
    had before, by name.

    Warns where a LoRA was trained beside other weights.

    Raises:
        CheckpointError: a LoRA is for a stage that there is not, or of another shape.
    """
    stages: dict[str, Any] = {} if model.prior is None else {"prior": model.prior}
    stages["decoder"] = model.decoder
    sizes = [stage.config["image_size"] for stage in model.upsamplers]
    names = [f"upsampler_{size}" for size in sizes]
    stages |= zip(names, model.upsamplers, strict=True)
    bases: dict[str, str] = {}
    for name, chosen in _by_stage(loras, stages, model.name).items():
        weights: Weights = stages[name].tensors
        bases[name] = weights_fingerprint(weights)
        _check(chosen, weights, bases[name], model.name)
        merged = dict(weights)
        for weight, added in _sums(chosen).items():
            stored = merged[weight]
            merged[weight] = (
                stored.float() + added if isinstance(stored, Tensor) else _Merged(stored, added)
            )
        stages[name] = replace(stages[name], tensors=merged)
    upsamplers = tuple(stages[name] for name in names)
    first, second = stages.get("prior"), stages["decoder"]
    return replace(model, prior=first, decoder=second, upsamplers=upsamplers), bases


def merge_networks(
    model: Components, chosen: ChosenLora, name: str, bases: Mapping[str, str]
) -> dict[str, str]:
    """Adds a LoRA to a network's weights in place; returns `bases` with the network's fingerprint.

    The sum is made in float32 and rounded to the weights' own precision.

    Args:
        name: the model's.
        bases: fingerprints of stages that have LoRAs in their weights already, before they had.

    Raises:
        CheckpointError: it is for a stage that there is not, or of another shape.
    """
    networks = {"prior": model.prior} if model.prior is not None else {}
    networks |= {"decoder": model.decoder}
    networks |= {f"upsampler_{u.config.image_size}": u for u in model.upsamplers}
    (stage,) = _by_stage([chosen], networks, name)
    network: nn.Module = networks[stage]
    weights = network.state_dict()
    base = bases.get(stage)
    if base is None:
        base = weights_fingerprint(weights)
        if any(weight.dtype == torch.float16 for weight in weights.values()):
            base = chosen.lora.base or base  # rounded from float32 perhaps: it cannot be told
    _check([chosen], weights, base, name)
    with torch.no_grad():
        for weight, added in _sums([chosen]).items():
            parameter = weights[weight]
            parameter.copy_(parameter.float() + added.to(parameter.device))
    return {**bases, stage: base}


def _by_stage(
    loras: Sequence[ChosenLora], stages: Mapping[str, object], name: str
) -> dict[str, list[ChosenLora]]:
    """Sorts LoRAs by the stages that they are for."""
    found: dict[str, list[ChosenLora]] = {}
    for chosen in loras:
        if chosen.lora.stage not in stages:
            raise CheckpointError(
                f"the LoRA {chosen.lora.name} is for the stage {chosen.lora.stage}, but {name} has "
                f"{', '.join(stages)}"
            )
        found.setdefault(chosen.lora.stage, []).append(chosen)
    return found


def _sums(loras: Sequence[ChosenLora]) -> dict[str, Tensor]:
    """What all LoRAs together add to each weight."""
    sums: dict[str, Tensor] = {}
    for chosen in loras:
        for layer in chosen.lora.pairs:
            added = chosen.lora.delta(layer, chosen.scale)
            weight = f"{layer}.weight"
            sums[weight] = sums[weight] + added if weight in sums else added
    return sums


def _check(loras: Sequence[ChosenLora], weights: Weights, base: str, name: str) -> None:
    shapes = {weight: tuple(tensor.shape) for weight, tensor in weights.items()}
    for chosen in loras:
        lora = chosen.lora
        check_lora(lora, shapes, f"the {lora.stage} of {name}")
        if lora.base is not None and lora.base != base:
            warnings.warn(
                f"the LoRA {lora.name} was trained beside the {lora.stage} of {lora.base_name} "
                f"({lora.base}), this is {name} ({base}): it may not paint what it learned",
                stacklevel=4,
            )
