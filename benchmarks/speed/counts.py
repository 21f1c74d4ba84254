"""How many operations a picture takes, stage by stage: what a host has to issue."""

from typing import Any

import numpy as np
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.speed.engine import STAGES, Engine, Task

MARK = "speed: a stage is done"
NO_KERNELS = ("Memcpy", "Memset", MARK)


def paint_counted(
    engine: Engine, task: Task, device: torch.device
) -> tuple[np.ndarray, tuple[int, ...]]:
    """Makes pictures; returns them and the calls of each stage: ATen operations on a CPU, kernels
    on a GPU, those within graphs too."""
    return (_kernels if device.type == "cuda" else _operations)(engine, task)


class _Operations(TorchDispatchMode):
    """Counts what passes PyTorch's dispatcher."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def _operations(engine: Engine, task: Task) -> tuple[np.ndarray, tuple[int, ...]]:
    marks = [0]
    with _Operations() as seen:
        images = engine.paint(task, lambda: marks.append(seen.count))
    return images, tuple(b - a for a, b in zip(marks, marks[1:], strict=False))


def _kernels(engine: Engine, task: Task) -> tuple[np.ndarray, tuple[int, ...]]:
    def mark() -> None:
        # Then the kernels of a stage lie between two marks on the one time axis.
        torch.cuda.synchronize()
        with record_function(MARK):
            pass

    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with profile(activities=activities) as seen:
        images = engine.paint(task, mark)
        torch.cuda.synchronize()
    events = seen.events() or []
    ends = sorted(
        event.time_range.start
        for event in events
        if event.name == MARK and event.device_type == DeviceType.CPU
    )
    starts = [
        event.time_range.start
        for event in events
        if event.device_type == DeviceType.CUDA and not event.name.startswith(NO_KERNELS)
    ]
    return images, count_between(starts, ends)


def count_between(starts: list[float], ends: list[float]) -> tuple[int, ...]:
    """Counts starts before the first end, between it and the second, and so on."""
    assert len(ends) == len(STAGES), f"{len(ends)} marks"
    places = np.searchsorted(ends, starts)
    return tuple(int((places == stage).sum()) for stage in range(len(ends)))
