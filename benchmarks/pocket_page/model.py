"""What the model's own files say of it: parameters, size, precision, hash."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from unclip.checkpoint import WEIGHTS
from unclip.pipeline.folders import find_model
from unclip.pipeline.pipeline import UnCLIPPipeline

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
        stored += _bytes_by_type(path)
    ((dtype, _),) = stored.most_common(1)
    networks = (pipe.clip, pipe.prior, pipe.decoder, *pipe.upsamplers)
    return ModelFacts(
        name=pipe.record.name,
        hash=pipe.record.hash or "",
        parameters=sum(p.numel() for network in networks for p in network.parameters()),
        num_bytes=sum(path.stat().st_size for path in files),
        precision=PRECISIONS.get(dtype, dtype),
        sizes=pipe.sizes,
    )


def _bytes_by_type(path: Path) -> Counter[str]:
    """Sums a safetensors file's bytes by their type, of which only the header is read."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    header.pop("__metadata__", None)
    found: Counter[str] = Counter()
    for entry in header.values():
        found[entry["dtype"]] += entry["data_offsets"][1] - entry["data_offsets"][0]
    return found
