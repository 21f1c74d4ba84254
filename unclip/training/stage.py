"""What a stage brings to the training loop; it never touches ranks, devices or files of the run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from PIL import Image
from torch import Tensor, nn

from unclip.training.data import MapDataset
from unclip.training.draws import Draws


@runtime_checkable
class Stage(Protocol):
    """What the loop needs to know of a stage."""

    name: str
    """Part of the key of every random draw."""
    channels_last: bool
    """The model is convolutional and runs faster with channels last in memory."""
    trained_on: Mapping[str, str]
    """Fingerprints of the frozen companions, by name; a run never goes on with others."""
    model: Any
    dataset: MapDataset

    def prepare(self, device: torch.device) -> None:
        """Moves frozen companions to the device; the model is there already."""

    def loss(self, model: nn.Module, batch: dict[str, Any], draws: Draws) -> dict[str, Tensor]:
        """Returns scalars: `loss` is minimised, the rest is logged; `model` is to be called."""
        ...

    def export(self, folder: Path, state: dict[str, Tensor]) -> None:
        """Writes the averaged weights as a stage folder."""

    def sheet(self, model: nn.Module) -> Image.Image | None:
        """Paints samples with the averaged weights."""
