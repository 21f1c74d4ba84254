"""The processes of a run: started by Accelerate, checked against the launch, and of one mind."""

import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

# Imported before there is a process group: its functions take the group of that moment as their
# default, which would keep the group's threads alive until Python ends, and abort it now and then.
import torch.distributed.nn
from accelerate import Accelerator
from accelerate.utils import (
    DistributedDataParallelKwargs,
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
)

from unclip.errors import BackendError, ConfigError, ProcessLostError, UnCLIPError
from unclip.training.settings import TrainConfig


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Builds the Accelerator and refuses a world that is not the one it was launched for.

    Raises:
        BackendError: the device cannot do bf16.
        ConfigError: Accelerate sees another number of processes than were launched; each would then
            train alone and write over the others.
    """
    try:
        accelerator = Accelerator(
            mixed_precision="bf16" if config.precision == "bf16" else "no",
            gradient_accumulation_plugin=GradientAccumulationPlugin(
                num_steps=config.accumulation, sync_with_dataloader=False
            ),
            cpu=not torch.cuda.is_available() and not torch.backends.mps.is_available(),
            kwargs_handlers=[
                DistributedDataParallelKwargs(gradient_as_bucket_view=True),
                InitProcessGroupKwargs(timeout=timedelta(seconds=config.timeout_seconds)),
            ],
        )
    except ValueError as error:
        if "bf16" not in str(error):
            raise
        raise BackendError(
            "train.precision is bf16, which this device cannot do: use float32"
        ) from error
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != launched:
        raise ConfigError(
            f"launched as {launched} processes, but this one sees {accelerator.num_processes}: "
            "without a GPU use ACCELERATE_USE_CPU=true accelerate launch --multi_gpu "
            f"--num_processes {launched} ..."
        )
    return accelerator


def is_emulated(config: TrainConfig, device: torch.device) -> bool:
    """Says whether the run's precision is bf16 on a CPU that has no instructions for it.

    The run is right all the same, and several times slower than in float32
    (benchmarks/cpu_training.py).
    """
    if device.type != "cpu" or config.precision != "bf16":
        return False
    return not torch.ops.mkldnn._is_mkldnn_bf16_supported()


def totals(accelerator: Accelerator, *values: int | torch.Tensor) -> list[float]:
    """Sums numbers over the processes in one message, so that every process decides the same."""
    device = accelerator.device
    row = torch.stack([torch.as_tensor(v, dtype=torch.float32).to(device) for v in values])
    total = accelerator.reduce(row, "sum")
    assert isinstance(total, torch.Tensor)
    return total.tolist()


@dataclass(frozen=True)
class Ranks:
    """The processes of a run as whole numbers are summed over them; by default this one alone."""

    rank: int = 0
    size: int = 1
    device: torch.device | None = None

    @classmethod
    def of(cls, accelerator: Accelerator) -> "Ranks":
        """The processes that Accelerate sees."""
        return cls(accelerator.process_index, accelerator.num_processes, accelerator.device)

    def total(self, *values: int) -> list[int]:
        """Sums numbers over the processes; nobody goes on before all have given theirs."""
        if self.size == 1:
            return [int(value) for value in values]
        row = torch.tensor([*map(int, values), 0], dtype=torch.int64, device=self.device)
        dist.all_reduce(row)
        return row.tolist()[:-1]

    def shared_number(self) -> int:
        """A random number, the same in all processes."""
        (number,) = self.total(secrets.randbits(32) if self.rank == 0 else 0)
        return number


@contextmanager
def held_by_first(ranks: Ranks, mine: AbstractContextManager[None]) -> Iterator[None]:
    """Lets the first process enter `mine` while the block runs; where it cannot, nobody goes on.

    Raises:
        UnCLIPError: what the first process met; the others meet a `ProcessLostError`.
    """
    error: UnCLIPError | None = None
    try:
        if ranks.rank == 0:
            mine.__enter__()
    except UnCLIPError as found:
        error = found
    if sum(ranks.total(error is not None)):
        raise error or ProcessLostError("the first process cannot begin: see its error")
    try:
        yield
    finally:
        if ranks.rank == 0:
            mine.__exit__(None, None, None)
