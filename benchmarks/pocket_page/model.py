"""What the model's own files say of it: parameters, size, precision, hash."""

from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path

from safetensors import safe_open

from unclip.checkpoint import WEIGHTS
from unclip.pipeline.folders import find_model
from unclip.pipeline.pipeline import UnCLIPPipeline
from unclip.pipeline.stages import needed_prior

PRECISIONS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "I8": "int8"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFacts:
    """A model in figures."""

    name: str
    hash: str
    parameters: int
    num_bytes: int
    """Of all safetensors."""
    precision: str
    """Of most of the stored weights."""
    sizes: tuple[int, ...]

    @property
    def megabytes(self) -> str:
        """Millions of bytes."""
        return f"{self.num_bytes / 1e6:.1f}"


def model_facts(name: str, pipe: UnCLIPPipeline) -> ModelFacts:
    """Reads a model's folder, beside the loaded model."""
    folder, _ = find_model(name)
    files = sorted(folder.glob(f"*/{WEIGHTS}"))
    stored: Counter[str] = Counter()
    for path in files:
        stored += count_parameters(path)
    ((dtype, _),) = stored.most_common(1)
    networks = (pipe.clip, needed_prior(pipe.model), pipe.decoder, *pipe.upsamplers)
    return ModelFacts(
        name=pipe.record.name,
        hash=pipe.record.hash or "",
        parameters=sum(p.numel() for network in networks for p in network.parameters()),
        num_bytes=sum(path.stat().st_size for path in files),
        precision=PRECISIONS.get(dtype, dtype),
        sizes=pipe.sizes,
    )


def count_parameters(weights: Path) -> Counter[str]:
    """Counts a safetensors file's parameters by their type; only its header is read."""
    found: Counter[str] = Counter()
    with safe_open(weights, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            tensor = file.get_slice(name)
            found[tensor.get_dtype()] += prod(tensor.get_shape())
    return found
