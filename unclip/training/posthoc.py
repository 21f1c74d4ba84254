"""An average of any length, after the training, from the snapshots of others.

Karras et al. 2024 (EDM2), section 3.2 and appendix C: the sum of snapshots whose profile is nearest
to that of the length (`unclip.training.profiles`). It goes tensor by tensor, so memory is that of
the largest one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from unclip.checkpoint import (
    CONFIG,
    WEIGHTS,
    StageFolder,
    atomic_folder,
    describe_stage,
    write_description,
)
from unclip.errors import CheckpointError, ConfigError
from unclip.mapped import TensorRef
from unclip.safetensors_file import open_safetensors
from unclip.safetensors_writer import OF_PYTORCH, write_safetensors
from unclip.training.profiles import LONGEST, SHORTEST, Fit, Profile, fit, gamma_of
from unclip.training.snapshots import Snapshot, find_snapshots


@dataclass(frozen=True)
class Reconstruction:
    """What was made of which snapshots."""

    folder: Path
    step: int
    """Of the average: that of the newest snapshot."""
    num_snapshots: int
    fit: Fit
    left_out: tuple[str, ...]
    """Why snapshots were not used, a line each."""


@dataclass(frozen=True)
class Summed:
    """A tensor that is the sum of others, made when it is asked for (a `LazyTensor`)."""

    parts: Sequence[TensorRef]
    weights: Sequence[float]

    @property
    def dtype(self) -> torch.dtype:
        """float32, or the type of a tensor of whole numbers."""
        own = self.parts[-1].dtype
        return torch.float32 if own.is_floating_point else own

    @property
    def shape(self) -> tuple[int, ...]:
        """That of all parts."""
        return self.parts[-1].shape

    def load(self) -> Tensor:
        """Adds the parts up in float64; whole numbers are the last part's."""
        if not self.dtype.is_floating_point:
            return self.parts[-1].load()
        total = torch.zeros(self.shape, dtype=torch.float64)
        for part, weight in zip(self.parts, self.weights, strict=True):
            total.add_(part.load(), alpha=weight)
            part.release()
        return total.to(torch.float32)

    def release(self) -> None:
        """Lets go of the last part's pages."""
        self.parts[-1].release()


def reconstruct(
    run: Path, std: float, *, step: int | None = None, out: Path | None = None, force: bool = False
) -> Reconstruction:
    """Writes the average of a length as a stage folder, by default `final-STD` in the run's folder.

    Args:
        std: its standard deviation as a share of the training so far, 0.001 to 0.288.
        step: as of the newest snapshot up to this step; None for the newest of all.
        force: what is in `out` may be replaced.

    Raises:
        ConfigError: a setting is out of range, or `out` is there already.
        CheckpointError: the run has no whole snapshot so early, they do not fit each other, or the
            folder cannot be written.
    """
    if not SHORTEST <= std <= LONGEST:
        raise ConfigError(f"--std is {std:g}, expected {SHORTEST:g} to {LONGEST:g}")
    out = out or run / f"final-{std:g}"
    if out.exists() and not force:
        raise ConfigError(f"{out} is there already: choose another --out, or --force to replace it")
    described, left_out = _whole_ones(run, step)
    snapshots = [snapshot for snapshot, _ in described]
    newest, about = max(described, key=lambda each: each[0].step)
    found = fit([each.profile for each in snapshots], Profile(float(newest.step), gamma_of(std)))

    refs = [open_safetensors(each.folder / WEIGHTS) for each in snapshots]
    for each, names in zip(snapshots, refs, strict=True):
        _check_alike(each, names, newest, refs[snapshots.index(newest)])
    weights = [float(weight) for weight in found.weights]
    summed = {name: Summed([each[name] for each in refs], weights) for name in refs[0]}
    metadata = about.metadata | {"ema_std": std, "step": newest.step}
    with atomic_folder(out) as place:
        write_description(place, about.stage, about.config, metadata, about.extra)
        write_safetensors(place / WEIGHTS, summed, metadata=OF_PYTORCH)
    return Reconstruction(out, newest.step, len(snapshots), found, tuple(left_out))


def _whole_ones(
    run: Path, step: int | None
) -> tuple[list[tuple[Snapshot, StageFolder]], list[str]]:
    """The snapshots up to a step that are whole, and what is to be said of the others."""
    every = find_snapshots(run)
    if not every:
        raise CheckpointError(
            f"{run} has no snapshots of its averages: train with train.ema_every, and give the "
            "run's folder"
        )
    last = math.inf if step is None else step
    if all(snapshot.step > last for snapshot in every):
        raise CheckpointError(
            f"{run} has no snapshot up to step {step}, its first is of step "
            f"{min(snapshot.step for snapshot in every)}: choose a later --step"
        )
    found, left_out = [], []
    for snapshot in every:
        if snapshot.step > last:
            continue
        try:
            found.append((snapshot, describe_stage(snapshot.folder)))
        except CheckpointError as error:
            left_out.append(str(error))
    if not found:
        raise CheckpointError(f"no snapshot of {run} is whole: {left_out[0]}")
    return found, left_out


def _check_alike(
    one: Snapshot, names: dict[str, TensorRef], other: Snapshot, others: dict[str, TensorRef]
) -> None:
    if {k: v.shape for k, v in names.items()} != {k: v.shape for k, v in others.items()}:
        raise CheckpointError(
            f"{one.folder} and {other.folder} hold other tensors ({CONFIG} differs): they are not "
            "of one run, move those of the former away"
        )
