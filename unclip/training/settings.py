"""The settings of the training loop."""

from dataclasses import dataclass
from typing import Literal

from unclip.config import ABOVE_ZERO, BELOW_ONE, INF, check_ranges
from unclip.errors import ConfigError
from unclip.nn.lora import LoraConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How a stage is trained; the same keys for all five."""

    seed: int = 0
    start_from: str | None = None
    """Stage folder whose weights a new run begins from, as far as they fit; None draws them."""
    lora: LoraConfig | None = None
    """Adapters are trained beside the weights of `start_from`, which stay as they are; None trains
    the weights themselves."""
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
    attention: Literal["sdpa", "xformers"] = "sdpa"
    """The kernels of all attention; xformers needs the extra of that name and a CUDA device."""
    num_workers: int = 0
    """Processes that load data, beside each training process."""
    log_every: int = 50
    save_every: int = 1000
    sheet_every: int = 1000
    keep: int = 2
    """Checkpoints kept."""
    max_nonfinite: int = 10
    """Steps in a row refused for a non-finite loss or gradient, at which the run stops."""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            "train.",
            seed=(0, 2**63 - 1),
            steps=(1, INF),
            batch_size=(1, INF),
            accumulation=(1, INF),
            lr=(0, INF),
            eps=(0, INF),
            weight_decay=(0, INF),
            warmup_steps=(0, INF),
            clip_norm=(ABOVE_ZERO, INF),
            ema_decay=(0, BELOW_ONE),
            num_workers=(0, INF),
            log_every=(1, INF),
            save_every=(1, INF),
            sheet_every=(1, INF),
            max_nonfinite=(1, INF),
        )
        if self.lora is not None and self.start_from is None:
            raise ConfigError("train.lora needs train.start_from: the stage that it is for")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"train.betas is {list(self.betas)}, expected two numbers in [0, 1)")
        if self.keep < 2:
            raise ConfigError(f"train.keep is {self.keep}, expected 2 or more: one may be damaged")
