"""How fast each stage trains: images a second, share of the machine's limit, memory, rung by rung,
beside DALLE2-pytorch at the same number of parameters.

A step is what the trainer does with a batch that is there: noise, forward, backward, clipping,
optimiser, averages. All variants of a stage are timed in turn, round by round, on a CPU in CPU
time of one thread; ratios are medians of the rounds' ratios. The limit is what a convolution or a
product reaches in the same run (H200: 790 TFLOP/s).

    python -m benchmarks.train_throughput [--stages prior decoder upsampler] [--shape small]
        [--batch 8] [--rounds 7] [--no-compile] [--json FILE]
"""

import argparse
import gc
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.speed.clock import start_clock
from benchmarks.speed.machine import commit, limits, machine, versions
from benchmarks.speed.record import Limit
from benchmarks.speed.shapes import find_shape
from benchmarks.training.ladder import ladder, without_channels_last
from benchmarks.training.memory import training_bytes
from benchmarks.training.ours import STAGES, our_step
from benchmarks.training.peer import has_peer, peer_step
from benchmarks.training.step import Step, make_batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What was measured of one variant."""

    stage: str
    name: str
    parameters: int
    flop: float
    """Of one sample, forward and backward."""
    seconds: list[float]
    """Of a step, by round."""
    batch: int
    memory_bytes: int

    @property
    def rate(self) -> float:
        """Samples a second."""
        return self.batch / statistics.median(self.seconds)


def measure(stage: str, options: argparse.Namespace, device: torch.device) -> list[Row]:
    """Times all variants of a stage in turn."""
    shape = find_shape(options.shape)
    batch = make_batch(shape, options.batch, device)
    rungs = ladder(convolutional=stage != "prior", compiled=options.compile)
    steps = [our_step(stage, shape, rung, batch) for rung in rungs]
    if stage != "prior" and device.type == "cpu":
        steps.append(our_step(stage, shape, without_channels_last(rungs), batch))
    if has_peer():
        size = steps[0].parameters
        steps += [peer_step(stage, shape, batch, size, bf16=bf16) for bf16 in (False, True)]
    flops, memory = [], []
    for step in steps:
        _say(f"{stage}: {step.name}, {step.parameters:,} parameters")
        flops.append(steps[0].flop() if "compile" in step.name else step.flop())
        step.run()
        memory.append(training_bytes(step.run, device))
    seconds: list[list[float]] = [[] for _ in steps]
    for number in range(options.rounds):
        for index in sorted(range(len(steps)), key=lambda i: (i + number) % len(steps)):
            seconds[index].append(_time(steps[index], device))
        _say(f"{stage}: round {number + 1} of {options.rounds}")
    return [
        Row(
            stage=stage,
            name=step.name,
            parameters=step.parameters,
            flop=flop,
            seconds=times,
            batch=step.batch,
            memory_bytes=taken,
        )
        for step, flop, times, taken in zip(steps, flops, seconds, memory, strict=True)
    ]


def _time(step: Step, device: torch.device) -> float:
    gc.collect()
    clock = start_clock(device)
    step.run()
    clock.mark()
    return clock.seconds()[0]


def table(rows: Sequence[Row], found: Sequence[Limit]) -> str:
    """Formats a stage's rows: the gain is over the first, the last column over the peer's best."""
    peers = [row for row in rows if row.name.startswith("DALLE2")]
    head = "| variant | parameters | GFLOP | images/s | gain | of the limit | memory | over peer |"
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        over = min((_ratio(row, peer) for peer in peers), default=None)
        limit = _limit(row.name, found)
        share = f"{row.rate * row.flop / limit:.0%}" if limit else ""
        lines.append(
            f"| {row.name} | {row.parameters / 1e6:.1f} M | {row.flop / 1e9:.1f} | {row.rate:.3g} |"
            f" {_ratio(row, rows[0]):.2f} | {share} | {row.memory_bytes / 1e9:.2f} GB |"
            f" {'' if over is None else f'{over:.2f}'} |"
        )
    return "\n".join(lines)


def _ratio(row: Row, other: Row) -> float:
    return statistics.median(b / a for a, b in zip(row.seconds, other.seconds, strict=True))


def _limit(name: str, found: Sequence[Limit]) -> float | None:
    halved = any(word in name for word in ("bf16", "fused", "compile", "trainer"))
    kind = "bfloat16" if halved else "float32"
    return next((limit.flop_per_second for limit in found if limit.dtype == kind), None)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Prints a table for each stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--shape", default="small")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(1)
    if not has_peer():
        _say("DALLE2-pytorch is not installed: it is left out (benchmarks/training/peer.py)")
    found, record = limits(device), []
    for stage in options.stages:
        rows = measure(stage, options, device)
        print(f"\n{stage}, shape {options.shape}, batch {options.batch}\n\n{table(rows, found)}")
        record += [{**asdict(row), "rate": row.rate} for row in rows]
    if options.json is not None:
        about = {
            "machine": asdict(machine(device)),
            "versions": dict(versions()),
            "commit": commit(),
            "limits": [asdict(limit) for limit in found],
        }
        options.json.write_text(json.dumps({**about, "rows": record}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
