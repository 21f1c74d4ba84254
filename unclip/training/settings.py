"""The settings of the training loop."""

from dataclasses import dataclass
from typing import Literal

from unclip.config import ABOVE_ZERO, INF, check_ranges
from unclip.data.samples import MAX_SKIPPED
from unclip.errors import ConfigError
from unclip.nn.lora import LoraConfig
from unclip.training.profiles import LONGEST, SHORTEST


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
    ema_stds: tuple[float, ...] = (0.05, 0.1)
    """Lengths of the float32 averages of the weights: the standard deviation of each one's profile,
    as a share of the steps so far (`unclip.training.profiles`)."""
    ema_final: float = 0.1
    """The one of `ema_stds` that `final/` and the sheets are made of."""
    precision: Literal["bf16", "float32"] = "bf16"
    """Of the forward pass; weights, optimiser and average are float32."""
    parallel: Literal["ddp", "fsdp2"] = "ddp"
    """What several processes hold: the whole model each, or each a part of every parameter, of its
    gradient, its optimiser state and its averages (`fully_shard`)."""
    recompute: bool = False
    """Forget the activations of every block and compute them again in the backward pass: less
    memory, about a third more time."""
    compile: bool = False
    """Compile every block with torch.compile."""
    attention: Literal["sdpa", "xformers"] = "sdpa"
    """The kernels of all attention; xformers needs the extra of that name and a CUDA device."""
    num_workers: int = 0
    """Processes that load data, beside each training process."""
    log_every: int = 50
    save_every: int = 1000
    """Steps between checkpoints."""
    save_minutes: float | None = None
    """Minutes after which there is a checkpoint even so."""
    sheet_every: int = 1000
    ema_every: int = 1000
    """Steps between the snapshots of all averages that `unclip ema` makes other lengths of; they
    stay, two bytes a weight and average each."""
    keep: int = 2
    """Checkpoints kept, beside the one that the run goes on from."""
    timeout_seconds: float = 1800.0
    """A process that lets the others, or its data, wait so long is given up, and the run ends."""
    max_skipped: float = MAX_SKIPPED
    """Share of pictures that could not be used, of 1,000 or more, above which the run stops."""
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
            num_workers=(0, INF),
            log_every=(1, INF),
            save_every=(1, INF),
            save_minutes=(ABOVE_ZERO, INF),
            sheet_every=(1, INF),
            ema_every=(1, INF),
            timeout_seconds=(1, INF),
            max_nonfinite=(1, INF),
            max_skipped=(0, 1),
        )
        if self.lora is not None and self.start_from is None:
            raise ConfigError("train.lora needs train.start_from: the stage that it is for")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"train.betas is {list(self.betas)}, expected two numbers in [0, 1)")
        self._check_averages()
        if self.keep < 2:
            raise ConfigError(f"train.keep is {self.keep}, expected 2 or more: one may be damaged")

    def _check_averages(self) -> None:
        stds = self.ema_stds
        if not stds or not all(SHORTEST <= std <= LONGEST for std in stds):
            raise ConfigError(
                f"train.ema_stds is {list(stds)}, expected one or more numbers from {SHORTEST:g} "
                f"to {LONGEST:g}"
            )
        if len({f"{std:g}" for std in stds}) < len(stds):
            raise ConfigError(f"train.ema_stds is {list(stds)}, expected different lengths")
        if self.ema_final not in stds:
            raise ConfigError(
                f"train.ema_final is {self.ema_final:g}, expected one of train.ema_stds "
                f"({', '.join(f'{std:g}' for std in stds)})"
            )
