"""What a checkpoint costs a training: the seconds that a save takes from the steps beside it.

    python benchmarks/checkpoints.py [--million 25] [--rounds 5] [--folder runs/cost]

A stack of square layers is trained; a window of steps with a save is timed against one of as many
steps without, in turn. The save costs what its window takes longer: the copy to CPU memory, for
which the training waits, and what the writing beside it takes away. At an interval of ten minutes
that is to be at most 2 % of the time.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from unclip.training.ema import Ema
from unclip.training.optim import make_optimizer
from unclip.training.progress import Progress, TrainState
from unclip.training.settings import TrainConfig
from unclip.training.state import Checkpoints
from unclip.training.tensors import total_bytes, train_tensors

WIDTH = 1024
BATCH = 64
INTERVAL_SECONDS = 600
LIMIT = 0.02


class Running:
    """A training of so many layers, step by step."""

    def __init__(self, layers: int, device: torch.device) -> None:
        config = TrainConfig(steps=10**9, batch_size=BATCH, lr=1e-4)
        stack = [part for _ in range(layers) for part in (nn.Linear(WIDTH, WIDTH), nn.SiLU())]
        model = nn.Sequential(*stack).to(device)
        ema, optimizer = Ema(model, config.ema_stds), make_optimizer(model, config)
        self.state = TrainState(model, ema, optimizer, Progress())
        self.input = torch.randn(BATCH, WIDTH, device=device)

    def step(self) -> None:
        """One step, done when it returns."""
        state = self.state
        state.model(self.input).square().mean().backward()
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.progress.advance(updated=True, skipped=0)
        state.ema.update(state.model, state.progress.step)
        if self.input.is_cuda:
            torch.cuda.synchronize()


def window(running: Running, steps: int, checkpoints: Checkpoints | None) -> tuple[float, float]:
    """Seconds of so many steps, and of these what a save made the training wait."""
    since, waited = time.perf_counter(), 0.0
    if checkpoints is not None:
        checkpoints.begin(running.state)
        waited = time.perf_counter() - since
    for _ in range(steps):
        running.step()
        if checkpoints is not None:
            checkpoints.proceed(*map(int, checkpoints.standing()))
    return time.perf_counter() - since, waited


def measure(running: Running, folder: Path, rounds: int) -> tuple[float, float, float, int]:
    """Seconds until a save is done, and medians: what it costs, what of this is waiting; steps."""
    checkpoints = Checkpoints(folder, 2, {})
    running.step()
    checkpoints.save(running.state)  # takes the memory that the later ones use again
    since = time.perf_counter()
    running.step()
    step_seconds = time.perf_counter() - since
    since = time.perf_counter()
    checkpoints.save(running.state)
    saving_seconds = time.perf_counter() - since
    # A window has room for the whole save, and its writing half as fast again.
    steps = max(3, round(3 * saving_seconds / step_seconds))
    costs, waits = [], []
    for _ in range(rounds):
        without, _ = window(running, steps, None)
        beside, waited = window(running, steps, checkpoints)
        checkpoints.wait()
        costs.append(beside - without)
        waits.append(waited)
    return saving_seconds, statistics.median(costs), statistics.median(waits), steps


def main(argv: Sequence[str]) -> int:
    """Prints the figures; 1 if a save costs too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--million", type=float, default=25, help="parameters")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write; by default a temporary one")
    options = parser.parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    running = Running(max(1, round(options.million * 1e6 / WIDTH**2)), device)
    folder = options.folder or Path(tempfile.mkdtemp())
    try:
        saving, cost, waited, steps = measure(running, folder, options.rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    size = total_bytes(train_tensors(running.state))
    share = max(cost, waited) / INTERVAL_SECONDS
    print(f"{size / 1e6:,.0f} MB on one {device.type}, windows of {steps} steps")
    print(f"a save, waited for: {saving:.2f} s, {size / 1e6 / saving:,.0f} MB a second")
    print(f"beside the training it costs {cost:.2f} s; the training waits for {waited:.3f} s of it")
    print(f"every ten minutes: {share:.2%} of the time, at most {LIMIT:.0%} are wanted")
    return int(share > LIMIT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
