"""Snapshots of the averages: ordinary stage folders `ema/TRACK/step_00001000` of a run's folder.

They are what an average of another length is made of (`unclip.training.posthoc`), so all are kept.
Weights are in float16, each off by 2^-11 of itself at most, which the sum of snapshots for a length
from 0.05 to 0.2 does not enlarge (its weights have a norm of about 1). Statistics stay float32.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unclip.training.ema import track_name
from unclip.training.profiles import Profile, gamma_of
from unclip.training.stage import Stage
from unclip.training.state import checkpoint_folders

FOLDER = "ema"


@dataclass(frozen=True)
class Snapshot:
    """A stage folder that holds an average."""

    folder: Path
    std: float
    step: int

    @property
    def profile(self) -> Profile:
        """How it weighs the steps before it."""
        return Profile(float(self.step), gamma_of(self.std))


def write_snapshot(
    run: Path, stage: Stage, std: float, step: int, tensors: Mapping[str, Tensor]
) -> None:
    """Writes an average, whole or not at all.

    Raises:
        CheckpointError: it cannot be written (a full disk, say).
    """
    folder = run / FOLDER / track_name(std) / f"step_{step:08d}"
    weights = {name for name, _ in stage.model.named_parameters()}
    stage.export(folder, {k: _halved(v) if k in weights else v for k, v in tensors.items()})


def _halved(tensor: Tensor) -> Tensor:
    half = tensor.to(torch.float16)
    return half if bool(half.isfinite().all()) else tensor


def find_snapshots(run: Path) -> list[Snapshot]:
    """Lists the snapshots of a run, whole or not, by track and step."""
    found = []
    for track in sorted((run / FOLDER).glob("0.*")):
        for folder in checkpoint_folders(track):
            step = int(folder.name.removeprefix("step_"))
            found.append(Snapshot(folder, float(track.name), step))
    return found


def forget_snapshots_after(run: Path, step: int) -> None:
    """Removes the snapshots that lie after a step, which a resumed run will write again."""
    for snapshot in find_snapshots(run):
        if snapshot.step > step:
            shutil.rmtree(snapshot.folder)
