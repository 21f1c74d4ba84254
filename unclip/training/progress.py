"""Where a run stands, and all that a checkpoint of it holds."""

from dataclasses import dataclass

import torch
from torch import nn

from unclip.data.samples import MIN_SEEN
from unclip.errors import TrainingDivergedError
from unclip.training.ema import Ema
from unclip.training.settings import TrainConfig


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

    def too_many_skipped(self, config: TrainConfig) -> str | None:
        """Says so when more pictures than the run allows could not be used."""
        seen = self.step * config.batch_size + self.skipped
        if seen < MIN_SEEN or self.skipped <= config.max_skipped * seen:
            return None
        return (
            f"{self.skipped} of {seen} pictures could not be used, expected at most "
            f"{config.max_skipped:.3g} of all (train.max_skipped)"
        )

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
