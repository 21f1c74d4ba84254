"""The settings of the training loop."""

from dataclasses import dataclass
from typing import Literal

from unclip.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How a stage is trained; the same keys for all five."""

    seed: int = 0
    steps: int
    """Optimiser steps."""
    batch_size: int
    """Samples a step, over all processes and accumulated parts."""
    accumulation: int = 1
    """Parts a step's batch is computed in, to save memory."""
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    """Decoupled; on matrices and kernels only, never on norms and biases."""
    warmup_steps: int = 0
    decay: Literal["constant", "cosine"] = "constant"
    """Of the learning rate after warm-up; cosine ends at zero."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    ema_decay: float = 0.999
    """Of the float32 average of the weights, per step; shorter at the start."""
    precision: Literal["bf16", "float32"] = "bf16"
    """Of the forward pass; weights, optimiser and average are float32."""
    num_workers: int = 0
    """Processes that load data, beside each training process."""
    log_every: int = 50
    save_every: int = 1000
    sheet_every: int = 1000
    keep: int = 2
    """Checkpoints kept."""
    max_nonfinite: int = 10
    """Steps in a row whose loss or gradient may be non-finite (and are skipped) before the run stops."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulation", "log_every", "save_every", "sheet_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"train.{name} is {getattr(self, name)}, expected 1 or more")
        if self.keep < 2:
            raise ConfigError(f"train.keep is {self.keep}, expected 2 or more: one may be damaged")
        if not 0 <= self.ema_decay < 1:
            raise ConfigError(f"train.ema_decay is {self.ema_decay}, expected [0, 1)")
