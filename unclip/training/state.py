"""A run's checkpoints: complete, committed by a rename, verified before use, pruned last.

A checkpoint is a folder `step_00001000` with weights, average and optimiser as safetensors,
`state.json`, and a manifest of SHA-256 sums. Randomness and data order need no state: they are
functions of the step. A checkpoint that was carried from another machine (`carry.py`) has no
optimiser; it goes on with a fresh one.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unclip.checkpoint import (
    atomic_folder,
    check_fit,
    read_tensors,
    unclip_version,
    verify_folder,
    write_tensors,
)
from unclip.errors import CheckpointError, TrainingDivergedError
from unclip.training.ema import Ema
from unclip.training.optim import load_optimizer_tensors, optimizer_tensors
from unclip.training.settings import TrainConfig

OPTIMIZER = "optimizer.safetensors"
NAME = re.compile(r"step_(\d{8,})")


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0
    """Optimiser steps done."""
    nonfinite: int = 0
    """Steps in a row that were refused because their loss or gradient was not finite."""
    nonfinite_total: int = 0
    """All such steps."""
    skipped: int = 0
    """Pictures that could not be used so far, over all processes."""
    warm_since: int = 0
    """The step at which the optimiser was fresh; the learning rate warms up from there."""

    def advance(self, *, updated: bool, skipped: int) -> None:
        """Counts a step that is done."""
        self.step += 1
        self.skipped += skipped
        self.nonfinite = 0 if updated else self.nonfinite

    def refuse(self, config: TrainConfig) -> str:
        """Counts the running step as refused; returns what to say of it.

        Raises:
            TrainingDivergedError: it is one too many in a row.
        """
        self.nonfinite += 1
        self.nonfinite_total += 1
        first = self.step * config.batch_size
        what = (
            f"the loss or gradient of step {self.step + 1} (samples {first} to "
            f"{first + config.batch_size - 1} of the stream) is not finite"
        )
        if self.nonfinite >= config.max_nonfinite:
            raise TrainingDivergedError(
                f"{what}, as in {self.nonfinite} steps in a row, expected numbers: look at the "
                "data, or start again with a lower train.lr"
            )
        return f"{what}: the weights are left as they are ({self.nonfinite} in a row)"

    def left_out(self) -> dict[str, int]:
        """What was left out so far."""
        return {"skipped": self.skipped, "nonfinite": self.nonfinite_total}


@dataclass(frozen=True)
class TrainState:
    """All that a checkpoint holds."""

    model: nn.Module
    ema: Ema
    optimizer: torch.optim.Optimizer
    progress: Progress


class Checkpoints:
    """The checkpoints of one run, in one folder."""

    def __init__(self, root: Path, keep: int, about: Mapping[str, Any]) -> None:
        self.root, self.keep, self.about = root, keep, about
        self.newest_step = -1
        """Of the checkpoint last read or written."""

    def save(self, state: TrainState) -> None:
        """Writes a checkpoint, then removes older ones beyond `keep` whole ones.

        Raises:
            CheckpointError: it could not be written (a full disk, say); the older ones stay.
        """
        step = state.progress.step
        if step == self.newest_step:
            return
        folder = self.root / f"step_{step:08d}"
        record = {**asdict(state.progress), **code_version(), **self.about}
        with atomic_folder(folder) as place:
            write_tensors(place / "model.safetensors", state.model.state_dict())
            write_tensors(place / "ema.safetensors", state.ema.tensors())
            tensors = optimizer_tensors(state.model, state.optimizer)
            write_tensors(place / OPTIMIZER, tensors)
            (place / "state.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        self.newest_step = step
        self._prune()

    def load_newest(self, state: TrainState) -> None:
        """Restores the newest checkpoint that is whole; leaves the state alone where there is none.

        A damaged one is named on stderr and passed over.

        Raises:
            CheckpointError: there are checkpoints but none is whole, or it fits another model, or
                it was trained on other companions (another CLIP) than are there now.
        """
        found = self.folders()
        for folder in reversed(found):
            try:
                files = verify_folder(folder)
            except CheckpointError as error:
                print(f"warning: {error}; trying the one before it", file=sys.stderr, flush=True)
                continue
            self._load(folder, files, state)
            self.newest_step = state.progress.step
            return
        if found:
            raise CheckpointError(
                f"none of the {len(found)} checkpoints in {self.root} is whole: restore one, or "
                "move the folder away to start again"
            )

    def _load(self, folder: Path, files: set[str], state: TrainState) -> None:
        record = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        before, now = record.get("trained_on"), self.about.get("trained_on")
        if before != now:
            raise CheckpointError(
                f"{folder} was trained on {_names(before)}, now there is {_names(now)}: put the "
                "former back, or choose another --out"
            )
        # Copied in place, so that device and memory layout stay the model's own.
        for own, name in ((state.model.state_dict(), "model"), (state.ema.tensors(), "ema")):
            tensors = read_tensors(folder / f"{name}.safetensors")
            check_fit(tensors, own, str(folder / f"{name}.safetensors"))
            for key, value in tensors.items():
                own[key].copy_(value)
        for field in fields(Progress):
            setattr(state.progress, field.name, record.get(field.name, 0))
        if OPTIMIZER in files:
            tensors = read_tensors(folder / OPTIMIZER)
            load_optimizer_tensors(state.model, state.optimizer, tensors)
        else:
            state.progress.warm_since = state.progress.step

    def folders(self) -> list[Path]:
        """Lists the checkpoints, oldest first, whole or not."""
        return checkpoint_folders(self.root)

    def _prune(self) -> None:
        """Removes what is older than the `keep` newest whole ones; damaged ones do not count."""
        whole = 0
        for folder in reversed(self.folders()):
            if whole >= self.keep:
                shutil.rmtree(folder, ignore_errors=True)
            elif _step(folder) == self.newest_step or _is_whole(folder):
                whole += 1


def checkpoint_folders(root: Path) -> list[Path]:
    """Lists the checkpoints in a folder, oldest first, whole or not."""
    return sorted((path for path in root.glob("step_*") if NAME.fullmatch(path.name)), key=_step)


def newest_whole(root: Path) -> Path:
    """Returns the newest whole checkpoint of a folder.

    Raises:
        CheckpointError: there is none.
    """
    for folder in reversed(checkpoint_folders(root)):
        if _is_whole(folder):
            return folder
    raise CheckpointError(f"{root} has no whole checkpoint: train first")


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("step_"))


def _is_whole(folder: Path) -> bool:
    try:
        verify_folder(folder)
    except CheckpointError:
        return False
    return True


def _names(companions: Mapping[str, str] | None) -> str:
    return (
        ", ".join(f"the {name} {fingerprint}" for name, fingerprint in (companions or {}).items())
        or "none"
    )


def code_version() -> dict[str, str | None]:
    """The versions of unclip and torch, and the git commit where the code is in a repository."""
    here = Path(__file__).resolve().parents[2]
    commit = None
    if (here / ".git").exists():
        command = ["git", "-C", str(here), "rev-parse", "HEAD"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            commit = done.stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            pass  # no git, or not its repository: the version has to do
    return {"unclip": unclip_version(), "torch": torch.__version__, "commit": commit}
