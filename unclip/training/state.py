"""A run's checkpoints: complete, committed by a rename, verified before use, pruned last.

A checkpoint is a folder `step_00001000` with weights, average and optimiser as safetensors, `state.json`,
and a manifest of SHA-256 sums. Randomness and data order need no state: they are functions of the step.
"""

import json
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from unclip.checkpoint import atomic_folder, load_tensors, read_tensors, verify_folder
from unclip.errors import CheckpointError
from unclip.training.ema import Ema
from unclip.training.optim import load_optimizer_tensors, optimizer_tensors

NAME = re.compile(r"step_(\d{8})")


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    """Optimiser steps done."""
    nonfinite: int = 0
    """Steps in a row that were skipped."""
    skipped: int = 0
    """Pictures that could not be used so far."""


@dataclass(frozen=True)
class TrainState:
    """All that a checkpoint holds."""

    model: nn.Module
    ema: Ema
    optimizer: torch.optim.Optimizer
    progress: Progress


def save_checkpoint(root: Path, state: TrainState, keep: int) -> Path:
    """Writes a checkpoint, then removes older ones beyond `keep`.

    Raises:
        CheckpointError: it could not be written (a full disk, say); the older ones are untouched.
    """
    folder = root / f"step_{state.progress.step:08d}"
    try:
        with atomic_folder(folder) as place:
            save_file(_contiguous(state.model.state_dict()), place / "model.safetensors")
            save_file(_contiguous(state.ema.average.state_dict()), place / "ema.safetensors")
            tensors = optimizer_tensors(state.model, state.optimizer)
            save_file(_contiguous(tensors), place / "optimizer.safetensors")
            (place / "state.json").write_text(json.dumps(vars(state.progress)), encoding="utf-8")
    except OSError as error:
        raise CheckpointError(f"cannot save {folder}: {error.strerror or error}") from error
    _prune(root, keep)
    return folder


def _contiguous(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _prune(root: Path, keep: int) -> None:
    for folder in checkpoints(root)[:-keep]:
        shutil.rmtree(folder, ignore_errors=True)


def checkpoints(root: Path) -> list[Path]:
    """Lists a run's checkpoints, oldest first, valid or not."""
    return sorted(path for path in root.glob("step_*") if NAME.fullmatch(path.name))


def load_newest(root: Path, state: TrainState) -> Path | None:
    """Restores the newest checkpoint that is whole; a damaged one is named on stderr and passed over.

    Returns:
        The checkpoint's folder, or None where there is none.
    """
    for rubbish in root.glob("step_*.tmp-*"):
        shutil.rmtree(rubbish, ignore_errors=True)
    for folder in reversed(checkpoints(root)):
        try:
            verify_folder(folder)
        except CheckpointError as error:
            print(f"warning: {error}; trying the checkpoint before it", file=sys.stderr, flush=True)
            continue
        _load(folder, state)
        return folder
    return None


def _load(folder: Path, state: TrainState) -> None:
    model_tensors = read_tensors(folder / "model.safetensors")
    state.model.load_state_dict(model_tensors)
    load_tensors(state.ema.average, read_tensors(folder / "ema.safetensors"), str(folder))
    tensors = read_tensors(folder / "optimizer.safetensors")
    load_optimizer_tensors(state.model, state.optimizer, tensors)
    vars(state.progress).update(json.loads((folder / "state.json").read_text(encoding="utf-8")))
