"""Time, per stage: what the process computed on a CPU, or CUDA's own events; and memory."""

import resource
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import torch


class Clock(Protocol):
    """One run's times; made at its beginning."""

    def mark(self) -> None:
        """Notes that a stage is done."""
        ...

    def seconds(self) -> tuple[float, ...]:
        """Returns what passed between the marks."""
        ...


class CpuClock:
    """CPU time of the process: what others do on the machine hardly shows in it."""

    def __init__(self) -> None:
        self.times = [time.process_time()]

    def mark(self) -> None:
        """Notes that a stage is done."""
        self.times.append(time.process_time())

    def seconds(self) -> tuple[float, ...]:
        """Returns what passed between the marks."""
        return tuple(b - a for a, b in pairwise(self.times))


class CudaClock:
    """Events in the stream: what the device waits for the host is in them."""

    def __init__(self) -> None:
        torch.cuda.synchronize()
        self.events: list[torch.cuda.Event] = []
        self.mark()

    def mark(self) -> None:
        """Notes that a stage is done."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self.events.append(event)

    def seconds(self) -> tuple[float, ...]:
        """Waits for the device; returns what passed between the marks."""
        torch.cuda.synchronize()
        return tuple(a.elapsed_time(b) / 1e3 for a, b in pairwise(self.events))


def start_clock(device: torch.device) -> Clock:
    """Starts the device's clock."""
    return CudaClock() if device.type == "cuda" else CpuClock()


def peak_memory() -> int:
    """Returns the process's largest resident memory so far, in bytes."""
    try:
        # Linux hands what getrusage says on to a new program: it would tell of the one before.
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class DeviceMemory:
    """What an engine takes of a GPU on which others hold memory, too; made before it is loaded."""

    def __init__(self) -> None:
        self._before = torch.cuda.memory_allocated()
        self._own = 0

    def loaded(self) -> None:
        """Notes that it is loaded."""
        self._own = torch.cuda.memory_allocated() - self._before

    def start(self) -> None:
        """Notes that it begins to paint."""
        torch.cuda.reset_peak_memory_stats()
        self._before = torch.cuda.memory_allocated()

    def peak(self) -> int:
        """Returns its weights and the most that was added since `start`."""
        return self._own + torch.cuda.max_memory_allocated() - self._before


def gpu_clocks() -> str | None:
    """Returns the GPU's clocks as nvidia-smi says; None where it doesn't."""
    query = ["nvidia-smi", "--query-gpu=clocks.sm,clocks.mem", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
