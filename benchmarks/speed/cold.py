"""One picture in a fresh process: what a user waits for the first time, and the memory it takes.

The other engines are not in that process, so its peak is the engine's own.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.clock import peak_memory
from benchmarks.speed.engine import Kind, Task, choose_device, prompts
from benchmarks.speed.machine import ROOT
from benchmarks.speed.record import Cold
from benchmarks.speed.shapes import Shape
from unclip.errors import BackendError


def measure_cold(name: str, shape: Shape, folder: Path, device: str, batch: int) -> Cold:
    """Starts a process that loads the engine and makes a picture.

    Raises:
        BackendError: it fails.
    """
    command = [sys.executable, "-m", "benchmarks.against_diffusers", "cold", "--engine", name]
    command += ["--shape", shape.name, "--weights", str(folder), "--device", device]
    command += ["--batch", str(batch), "--threads", str(torch.get_num_threads())]
    started = time.time()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or "no message").splitlines()[-1]
        raise BackendError(f"{name} in a fresh process failed: {reason}")
    return read_answer(done.stdout, started, cuda=device == "cuda")


def read_answer(text: str, started: float, *, cuda: bool) -> Cold:
    """Reads the process's last line: times of its own, or clock times from `started`."""
    answer = json.loads(text.strip().splitlines()[-1])
    ready, image = (
        (answer["ready_at"] - started, answer["image_at"] - started)
        if cuda
        else (answer["ready_cpu"], answer["image_cpu"])
    )
    return Cold(ready_seconds=ready, image_seconds=image, peak_bytes=answer["peak_bytes"])


def be_cold(kind: Kind, shape: Shape, folder: Path, device_name: str, batch: int) -> str:
    """Is that process: loads, paints once, and says what it took."""
    device = choose_device(device_name)
    engine = kind.open(folder, device)
    answer: dict[str, Any] = _now("ready")
    engine.paint(Task(prompts=prompts(0, batch), seed=0, steps=shape.steps), lambda: None)
    cuda = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if cuda else peak_memory()
    return json.dumps(answer | _now("image") | {"peak_bytes": peak})


def _now(what: str) -> dict[str, float]:
    return {f"{what}_cpu": time.process_time(), f"{what}_at": time.time()}
