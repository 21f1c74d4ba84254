"""The rounds: all engines in turn, the reference twice, every round beginning with another."""

import gc
from collections.abc import Callable, Iterator, Sequence

import torch

from benchmarks.speed.clock import start_clock
from benchmarks.speed.engine import Engine, Task, prompts
from benchmarks.speed.record import CONTROL, REFERENCE, Timed
from benchmarks.speed.shapes import Steps


def measure_rounds(
    engines: dict[str, Engine],
    device: torch.device,
    steps: Steps,
    batch: int,
    rounds: range,
    warmups: int,
    say: Callable[[str], None],
) -> Iterator[tuple[Timed, ...]]:
    """Yields one round after the other.

    Args:
        warmups: pictures before the first round on a GPU; on a CPU the comparison was enough.
    """
    if device.type == "cuda":
        for name, engine in engines.items():
            say(f"warming up {name}")
            for number in range(warmups):
                _time(engine, device, _task(number, steps, batch))
    for number in rounds:
        task, found = _task(number, steps, batch), {}
        for name in order(list(engines), number):
            engine = engines[REFERENCE if name == CONTROL else name]
            found[name] = Timed(engine=name, seconds=_time(engine, device, task))
            say(f"round {number + 1}: {name} {found[name].total:.3f} s")
        yield tuple(found[name] for name in (*engines, CONTROL))


def order(names: Sequence[str], number: int) -> list[str]:
    """Returns the engines of a round: the control is half a round away from the reference."""
    middle = len(names) - len(names) // 2
    line = [*names[:middle], CONTROL, *names[middle:]]
    turn = number % len(line)
    return line[turn:] + line[:turn]


def _task(number: int, steps: Steps, batch: int) -> Task:
    return Task(prompts=prompts(number, batch), seed=number, steps=steps)


def _time(engine: Engine, device: torch.device, task: Task) -> tuple[float, ...]:
    gc.collect()
    clock = start_clock(device)
    engine.paint(task, clock.mark)
    return clock.seconds()
