"""Where an engine's time goes: the operations that take most of it."""

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.speed.engine import Engine, Task
from benchmarks.speed.record import Share

ROWS = 8


def profile_engine(engine: Engine, task: Task, device: torch.device) -> tuple[Share, ...]:
    """Returns the operations with the largest shares of the device's time."""
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    with profile(activities=activities) as seen:
        engine.paint(task, lambda: None)
    field = "self_device_time_total" if cuda else "self_cpu_time_total"
    return shares([(row.key, getattr(row, field), row.count) for row in seen.key_averages()])


def shares(rows: list[tuple[str, float, int]], most: int = ROWS) -> tuple[Share, ...]:
    """Names, times and counts to the largest shares."""
    total = sum(time for _, time, _ in rows)
    largest = sorted(rows, key=lambda row: -row[1])[:most]
    return tuple(
        Share(operation=name[:80], share=round(time / total, 4), calls=count)
        for name, time, count in largest
        if time > 0
    )
