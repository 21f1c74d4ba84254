"""The order of the data: a stateless function of the position in an infinite stream.

Position p belongs to epoch p // N and reads place p % N of that epoch's permutation. A step's
global batch is a range of positions and every process takes its slice, so the order depends neither
on the number of processes nor on where a run was interrupted.
"""

import math
import multiprocessing
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from unclip.errors import ConfigError, DataError
from unclip.training.permutation import Permutation
from unclip.training.settings import TrainConfig


@runtime_checkable
class MapDataset(Protocol):
    """Samples by (index, position): the position decides captions and crops.

    A sample is a dict whose `skipped` counts the records that could not be used in its place.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]: ...


class PositionBatches:
    """The batches of one process, from a step on: lists of (index, position)."""

    def __init__(
        self, length: int, config: TrainConfig, first_step: int, rank: int, world_size: int
    ) -> None:
        parts = world_size * config.accumulation
        if config.batch_size % parts:
            raise ConfigError(
                f"train.batch_size {config.batch_size} does not divide over {world_size} processes "
                f"x {config.accumulation} accumulated parts: use a multiple of {parts}"
            )
        if length < 1:
            raise DataError("the data set is empty")
        self.length, self.config, self.first_step = length, config, first_step
        self.part = config.batch_size // parts
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return max(0, self.config.steps - self.first_step) * self.config.accumulation

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in range(self.first_step, self.config.steps):
            for part in range(self.config.accumulation):
                positions = self.positions(step, part)
                yield list(zip(self._indices(positions), positions, strict=True))

    def _indices(self, positions: range) -> list[int]:
        """What stands at some positions, which may reach over several epochs."""
        found: list[int] = []
        while len(found) < len(positions):
            epoch, place = divmod(positions[len(found)], self.length)
            places = np.arange(place, min(self.length, place + len(positions) - len(found)))
            order = Permutation(self.config.seed, epoch, self.length)
            found += order(places).tolist()
        return found

    def positions(self, step: int, part: int) -> range:
        """This process's share of a part of a step."""
        start = step * self.config.batch_size
        start += (part * self.world_size + self.rank) * self.part
        return range(start, start + self.part)


def make_loader(
    dataset: MapDataset, batches: PositionBatches, num_workers: int
) -> DataLoader[dict[str, Any]]:
    """Loads the batches; never handed to Accelerate, which would shard them a second time."""
    return DataLoader(
        dataset,  # type: ignore[arg-type]  # torch's Dataset is nominal, ours a protocol
        batch_sampler=batches,
        num_workers=num_workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=ignore_signals,
        multiprocessing_context="spawn" if num_workers else None,
    )


def ignore_signals(_: int) -> None:
    """Leaves signals to the trainer, in a process that loads data."""
    # Ctrl-C and a scheduler signal the whole process group; the trainer still needs its data to
    # finish the step, and ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


class Patience:
    """Waits for batches, and ends the processes that load them when one takes too long.

    The loader's own timeout does not see a process that hangs half-way through handing over a
    batch.
    """

    def __init__(self, samples: Iterator[dict[str, Any]], seconds: float, num_workers: int) -> None:
        self._samples = samples
        self._seconds = seconds if num_workers else math.inf
        self._until = math.inf
        self._closed = threading.Event()
        if num_workers:
            threading.Thread(target=self._watch, daemon=True).start()

    def next(self) -> dict[str, Any]:
        """The next batch.

        Raises:
            DataError: a process that loads data is gone or hangs.
        """
        self._until = time.monotonic() + self._seconds
        try:
            return next(self._samples)
        except (RuntimeError, OSError, EOFError) as error:
            # What a sample raised in such a process comes as "Caught ... in DataLoader worker".
            if math.isinf(self._until) or str(error).startswith("Caught "):
                raise
            raise lost_loader(error) from error
        finally:
            self._until = math.inf

    def close(self) -> None:
        """Lets go of the batches, which the watching thread would keep."""
        self._closed.set()
        del self._samples

    def _watch(self) -> None:
        while not self._closed.wait(1):
            if time.monotonic() > self._until:
                _end_workers()  # torch raises its error where the training waits
                return


def is_lost_loader(error: Exception) -> bool:
    """Says whether an error is torch's of a process that loads data, which comes at any time."""
    return isinstance(error, RuntimeError) and str(error).startswith("DataLoader")


def lost_loader(error: Exception) -> DataError:
    """Ends all processes that load data: one that hangs would keep the training from ending."""
    try:
        for worker in _end_workers():
            worker.join(5)
    except RuntimeError:
        pass  # torch tells of those that were killed, once, wherever the program is
    return DataError(
        f"a process that loads data is gone or hangs ({' '.join(str(error).split())}): look for "
        "too little memory, then start the same command again"
    )


def _end_workers() -> list[BaseProcess]:
    workers = multiprocessing.active_children()
    for worker in workers:
        worker.kill()
    return workers


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """Moves a batch's tensors; the rest (captions) stays."""
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }
