"""What an engine does for a picture: how many operations each stage takes, which a host has to
issue, and where the time goes."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.speed.engine import STAGES, Engine, Task
from benchmarks.speed.record import Share

MARK = "speed: a stage is done"
NO_KERNELS = ("Memcpy", "Memset", MARK)
PROFILE_ROWS = 8


class Seen(NamedTuple):
    """A picture and what was seen of its making."""

    images: np.ndarray
    calls: tuple[int, ...]
    """Of each stage: ATen operations on a CPU, kernels on a GPU, those within graphs too."""
    profile: tuple[Share, ...]
    """The operations with the largest shares of the device's time."""


def watch(engine: Engine, task: Task, device: torch.device, *, profiled: bool) -> Seen:
    """Makes pictures and counts; on a CPU makes them again for a profile if one is asked for."""
    if device.type == "cuda":
        return _watch_kernels(engine, task)
    images, calls = _operations(engine, task)
    found: tuple[Share, ...] = ()
    if profiled:
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            engine.paint(task, lambda: None)
        rows = seen.key_averages()
        found = shares([(row.key, row.self_cpu_time_total, row.count) for row in rows])
    return Seen(images, calls, found)


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
    return images, tuple(b - a for a, b in pairwise(marks))


def _watch_kernels(engine: Engine, task: Task) -> Seen:
    def mark() -> None:
        # Then the kernels of a stage lie between two marks on the one time axis.
        torch.cuda.synchronize()
        with record_function(MARK):
            pass

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        images = engine.paint(task, mark)
        torch.cuda.synchronize()
    events = seen.events() or []
    ends, starts = [], []
    times: dict[str, list[float]] = {}
    for event in events:
        if event.device_type == DeviceType.CPU and event.name == MARK:
            ends.append(event.time_range.start)
        elif event.device_type == DeviceType.CUDA and not event.name.startswith(NO_KERNELS):
            starts.append(event.time_range.start)
            times.setdefault(event.name, []).append(event.time_range.elapsed_us())
    rows = [(name, sum(values), len(values)) for name, values in times.items()]
    return Seen(images, count_between(starts, sorted(ends)), shares(rows))


def count_between(starts: list[float], ends: list[float]) -> tuple[int, ...]:
    """Counts starts before the first end, between it and the second, and so on."""
    assert len(ends) == len(STAGES), f"{len(ends)} marks"
    places = np.searchsorted(ends, starts)
    return tuple(int((places == stage).sum()) for stage in range(len(ends)))


def shares(rows: list[tuple[str, float, int]], most: int = PROFILE_ROWS) -> tuple[Share, ...]:
    """Names, times and counts to the largest shares."""
    total = sum(time for _, time, _ in rows)
    largest = sorted(rows, key=lambda row: -row[1])[:most]
    return tuple(
        Share(operation=name[:80], share=round(time / total, 4), calls=count)
        for name, time, count in largest
        if time > 0
    )
