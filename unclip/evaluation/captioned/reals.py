"""Features of real pictures, kept from one evaluation to the next.

A file's name is the hash of all that they depend on: the pictures' own bytes in their order, how
they were prepared, and the network.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from unclip.checkpoint import read_tensors
from unclip.errors import CheckpointError, DataError
from unclip.evaluation.captioned.extractors import Extractor

RULE = "centre square, Pillow bicubic to the painted size, then to the network's; 8 bits"
"""How pictures are prepared; whoever changes that changes this line."""


def default_cache() -> Path:
    """The user's own."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "unclip" / "evaluation"


def cache_key(digests: Sequence[str], size_px: int, extractor: Extractor) -> str:
    """Names the features of pictures.

    Args:
        digests: each picture's, in order.
        size_px: the side that they are brought to before they are the network's.
    """
    about = [list(digests), size_px, RULE, extractor.key, extractor.size_px]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]


def load_features(folder: Path, key: str, count: int) -> Tensor | None:
    """Reads features, (count, dim); None where there are none that can be used."""
    path = folder / f"{key}.safetensors"
    if not path.is_file():
        return None
    try:
        features = read_tensors(path).get("features")
    except CheckpointError:
        return None  # they are computed anew, and the file replaced
    if features is None or features.dim() != 2 or len(features) != count:
        return None
    return features if torch.isfinite(features).all() else None


def save_features(folder: Path, key: str, features: Tensor, extractor: Extractor) -> None:
    """Writes features, whole or not at all.

    Raises:
        DataError: the folder cannot be written.
    """
    about = {"network": extractor.name, "key": extractor.key, "pictures": RULE}
    path = folder / f"{key}.safetensors"
    beside = folder / f".{key}.{os.getpid()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(save({"features": features.contiguous()}, metadata=about))
        os.replace(beside, path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise DataError(
            f"cannot write {path}: {error.strerror or error}; choose another --cache"
        ) from error
