"""A run of the benchmark, from weights to record; stopped, it goes on where it was."""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.speed.clock import DeviceMemory, gpu_clocks
from benchmarks.speed.cold import measure_cold
from benchmarks.speed.compare import compare
from benchmarks.speed.counts import watch
from benchmarks.speed.engine import Engine, Kind, Task, choose_device, prompts, select
from benchmarks.speed.kinds import kinds_of
from benchmarks.speed.machine import commit, limits, machine, versions
from benchmarks.speed.ours import Ours
from benchmarks.speed.peers import load_plain
from benchmarks.speed.record import REFERENCE, About, Record, Row, read_record, write_record
from benchmarks.speed.rounds import measure_rounds
from benchmarks.speed.shapes import Shape, find_shape
from benchmarks.speed.table import table_of
from benchmarks.speed.verdict import problems
from benchmarks.speed.weights import write_weights
from benchmarks.speed.work import count_work
from unclip.errors import DataError

COMPARED_SEED = 2**31
"""Of the pictures that are compared; the rounds' are others."""


def run(options: argparse.Namespace) -> str:
    """Measures; returns the table.

    Raises:
        UnCLIPError: something asked for is not there, or an older record is of something else.
    """
    torch.set_num_threads(options.threads)
    device, shape = choose_device(options.device), find_shape(options.shape)
    kinds = select(kinds_of(device.type), options.engines or names_of(device.type))
    if REFERENCE not in {kind.name for kind in kinds}:
        raise DataError(f"--engines has no {REFERENCE}, which all others are compared with")
    folder = write_weights(options.weights, shape)
    about = About(
        shape=shape.name,
        device=device.type,
        batch=options.batch,
        steps=shape.steps,
        machine=machine(device),
        versions=versions(),
        commit=commit(),
    )
    record = _begin(options.out, about, kinds, options.again)
    say = _speaker(options.quiet)
    engines, memory = {}, {}
    for kind in kinds:
        say(f"loading {kind.name}")
        if device.type == "cuda":
            memory[kind.name] = DeviceMemory()
        engines[kind.name] = kind.open(folder, device)
        if kind.name in memory:
            memory[kind.name].loaded()
    if not record.rows:
        if options.cold:
            say("fresh processes")
        record = _describe(record, shape, folder, kinds, engines, memory, device, options.cold, say)
        write_record(options.out, record)
    rounds = range(len(record.rounds), options.rounds)
    for turn in measure_rounds(
        engines, device, shape.steps, options.batch, rounds, options.warmups, say
    ):
        record = replace(record, rounds=(*record.rounds, turn))
        write_record(options.out, record)
    if device.type == "cuda":
        record = replace(record, clocks=gpu_clocks())
        write_record(options.out, record)
    found = problems(record, options.rounds)
    verdict = "\n".join(f"VOID: {problem}" for problem in found) or "The run holds."
    return f"{table_of(record)}\n\n{verdict}\n{options.out}"


def names_of(device: str) -> list[str]:
    """Names of all engines of a device."""
    return [kind.name for kind in kinds_of(device)]


def _begin(path: Path, about: About, kinds: list[Kind], again: bool) -> Record:
    """Returns the record to go on with, or an empty one."""
    if again or not path.exists():
        return Record(about=about, work=(), limits=(), rows=())
    record = read_record(path)
    same = record.about == about and [row.name for row in record.rows] == [k.name for k in kinds]
    if not same:
        raise DataError(
            f"{path} is of another run ({record.about.commit}, "
            f"{', '.join(row.name for row in record.rows)}): give --again to replace it"
        )
    return record


def _describe(
    record: Record,
    shape: Shape,
    folder: Path,
    kinds: list[Kind],
    engines: dict[str, Engine],
    memory: dict[str, DeviceMemory],
    device: torch.device,
    cold: bool,
    say: Callable[[str], None],
) -> Record:
    """All that is not timed in rounds: equality, counts, profiles, limits, memory."""
    batch = record.about.batch
    task = Task(prompts=prompts(0, batch), seed=COMPARED_SEED, steps=shape.steps)
    reference = None
    if device.type == "cuda":
        say("the reference's pictures")
        reference = reference_images(folder, device, task)
    rows = []
    for kind in kinds:
        engine = engines[kind.name]
        say(f"comparing {kind.name}")
        if device.type == "cuda":
            engine.paint(task, lambda: None)  # what compiles or captures doesn't count
        held = memory.get(kind.name)
        if held:
            held.start()
        seen = watch(engine, task, device, profiled=isinstance(engine, Ours))
        if reference is None:
            reference = seen.images  # the reference comes first, and is float32 on a CPU
        row = Row(
            name=kind.name,
            title=kind.title,
            dtype=kind.dtype,
            compared=compare(seen.images, reference, kind.dtype, kind.equal_output),
            calls=seen.calls,
            profile=seen.profile,
            peak_bytes=held.peak() if held else None,
        )
        if isinstance(engine, Ours):
            row = replace(row, call_seconds=_whole_call(engine, task, seen.images, device))
        if cold:
            say(f"{kind.name} in a fresh process")
            fresh = measure_cold(kind.name, shape, folder, device.type, batch)
            row = replace(row, cold=fresh)
        say(f"{kind.name}: error {row.compared.error:.2g}, {row.compared.psnr:.1f} dB")
        rows.append(row)
    work = count_work(shape, shape.steps, batch)
    return replace(record, work=work, limits=limits(device), rows=tuple(rows))


def reference_images(folder: Path, device: torch.device, task: Task) -> np.ndarray:
    """Returns the pictures of a peer in float32 on a GPU, which is then let go.

    Convolutions take TF32 in it, as PyTorch has it: half precision is further off than that.
    """
    images = load_plain(folder, device, torch.float32).paint(task, lambda: None)
    torch.cuda.empty_cache()
    return images


def _whole_call(engine: Ours, task: Task, images: np.ndarray, device: torch.device) -> float:
    """Times the one call that users make, and holds it against the stages.

    Raises:
        DataError: it makes other pictures.
    """
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    start = clock()
    whole = engine.call(task)
    took = clock() - start
    if not np.allclose(whole, images, atol=2 / 255):
        raise DataError(
            f"a call makes other pictures than the stages: up to {np.abs(whole - images).max():.3f}"
        )
    return took


def _speaker(quiet: bool) -> Callable[[str], None]:
    started = time.monotonic()

    def say(text: str) -> None:
        if not quiet:
            print(f"{time.monotonic() - started:7.1f} s  {text}", flush=True)

    return say
