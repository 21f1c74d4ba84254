"""The memory that a training step takes beside the tensors that live on: activations, gradients."""

from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


def training_bytes(run: Callable[[], None], device: torch.device) -> int:
    """Returns the most bytes that a step had allocated at a time, beyond what it began with."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    assert record.profiler is not None, "it has run"
    results: Any = record.profiler.kineto_results
    now = peak = 0
    for event in results.events():  # in the order of time
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak
