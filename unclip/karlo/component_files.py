"""The files of one component of a diffusers folder."""

from pathlib import Path
from typing import Any

from unclip.errors import CheckpointError
from unclip.karlo.json_file import read_json
from unclip.karlo.weights import open_tensors
from unclip.mapped import TensorRef


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """Reads a component's configuration.

    Raises:
        CheckpointError: it is missing or no JSON object.
    """
    return read_json(folder / name)


def weight_names(stem: str, pickled: str) -> tuple[str, ...]:
    """Files that may hold a component's weights, the best first."""
    return (f"{stem}.safetensors", f"{stem}.safetensors.index.json", f"{pickled}.bin")


def component_weights(folder: Path, stem: str, pickled: str | None = None) -> dict[str, TensorRef]:
    """Opens a component's weights: safetensors where they are there, else `.bin`.

    Raises:
        CheckpointError: there are none, or they are damaged.
    """
    names = weight_names(stem, pickled or stem)
    for name in names:
        if (folder / name).is_file():
            return open_tensors(folder / name)
    raise CheckpointError(f"{folder} has no weights, expected {' or '.join(names)}")
