"""The plan of a run on so many GPUs: what of it fits, how long it takes, what it needs beside."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from unclip.checkpoint import WEIGHTS
from unclip.errors import ConfigError, InputError
from unclip.planning.gpus import GPUS, NODE, Gpu
from unclip.planning.kinds import Planned
from unclip.planning.memory import Memory, Steps, measure, sharded, whole
from unclip.training.settings import TrainConfig

MFU = {"prior": 0.40, "decoder": 0.30, "upsampler": 0.30}
"""Share of the peak that a stage reaches, where nothing is measured: transformers 40 %, U-Nets 15
to 30 % (docs/scaling.md)."""
KEPT_FREE = 0.08
"""Share of a GPU's memory for the driver, NCCL, cuDNN's scratch and the allocator's gaps."""
BACKWARD = 2 / 3
"""Share of a step in which gradients are sent while others are computed."""


@dataclass(frozen=True, kw_only=True)
class Means:
    """What there is to train with."""

    gpu: Gpu
    gpus: int
    mfu: float
    price: float | None
    """Of a GPU-hour, in dollars; None is not known."""
    images: float
    """Samples of the data set."""
    disk: float
    """Bytes a second that one node writes to storage."""

    @property
    def nodes(self) -> int:
        """Machines of eight GPUs."""
        return -(-self.gpus // NODE)


@dataclass(frozen=True, kw_only=True)
class Option:
    """One way to lay the run out."""

    name: str
    memory: Memory
    fits: bool
    flops_per_sample: float
    """Forward and backward, with what is computed again."""
    step_seconds: float
    waiting: float
    """Share of a step in which GPUs wait for the network."""
    images_per_second: float
    days: float
    gpu_hours: float
    cost: float | None
    checkpoint_seconds: float
    """To write one checkpoint; DDP writes from one node, FSDP2 from all."""
    loader_bytes_per_second: float
    """That all nodes together read from storage."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that is told of a run."""

    kind: str
    parameters: int
    forward_flops: float
    """Of one sample."""
    train_flops: float
    """Of one sample, forward and backward."""
    batch: int
    steps: int
    batch_per_gpu: int
    accumulation: int
    precision: str
    epochs: float
    dataset_bytes: float
    checkpoint_bytes: float
    options: tuple[Option, ...]
    would_fit: tuple[str, ...]
    """What to change, where nothing fits, or nothing that does not compute everything twice."""

    @property
    def best(self) -> Option | None:
        """The fastest that fits."""
        fitting = [option for option in self.options if option.fits]
        return max(fitting, key=lambda option: option.images_per_second, default=None)


def check_means(means: Means) -> None:
    """Looks at what a user gave.

    Raises:
        InputError: a number is out of range.
    """
    if means.gpus < 1:
        raise InputError(f"--gpus is {means.gpus}, expected 1 or more")
    if not 0 < means.mfu <= 1:
        raise InputError(f"--mfu is {means.mfu:g}, expected above 0 to 1: 0.4 is 40 %")
    for name, value in (("images", means.images), ("disk", means.disk)):
        if not 0 < value < math.inf:
            raise InputError(f"--{name} is {value:g}, expected above 0")
    if means.price is not None and not 0 <= means.price < math.inf:
        raise InputError(f"--price is {means.price:g}, expected 0 or more")


def make_plan(run: Planned, means: Means) -> Plan:
    """Counts a run's step and works out its options.

    Raises:
        ConfigError: the batch does not divide over the GPUs.
    """
    return lay_out(run, means, count(run, means))


def count(run: Planned, means: Means) -> Steps:
    """Counts a step of one GPU's share of the batch.

    Raises:
        ConfigError: the batch does not divide over the GPUs.
    """
    batch = part_of(run.train, means.gpus)
    autocast, alone = run.train.precision == "bf16", means.gpus == 1
    return measure(run.network, partial(run.loss, batch), autocast=autocast, alone=alone)


def lay_out(run: Planned, means: Means, steps: Steps) -> Plan:
    """Works the options out of what was counted."""
    train = run.train
    batch, alone = part_of(train, means.gpus), means.gpus == 1
    autocast = train.precision == "bf16"
    companions = _companions(run.clip)

    options = []
    for recompute in (False, True):
        again = ", recomputing" if recompute else ""
        flops = (steps.recomputed if recompute else steps.plain).flops / batch
        memory = whole(
            run.parameters,
            steps,
            averages=len(train.ema_stds),
            recompute=recompute,
            alone=alone,
            companions=companions,
        )
        options.append(_option("ddp" + again, run, means, memory, flops))
        if not alone:
            memory = sharded(
                run.network,
                steps,
                averages=len(train.ema_stds),
                gpus=means.gpus,
                recompute=recompute,
                autocast=autocast,
                companions=companions,
            )
            options.append(_option("fsdp2" + again, run, means, memory, flops))
    plain_fits = any(option.fits and "recomputing" not in option.name for option in options)
    advice = () if plain_fits else _would_fit(options, means, batch, train.accumulation)
    return Plan(
        kind=run.kind,
        parameters=run.parameters,
        forward_flops=steps.plain.forward_flops / batch,
        train_flops=steps.plain.flops / batch,
        batch=train.batch_size,
        steps=train.steps,
        batch_per_gpu=batch,
        accumulation=train.accumulation,
        precision=train.precision,
        epochs=train.batch_size * train.steps / means.images,
        dataset_bytes=means.images * run.sample_bytes,
        checkpoint_bytes=_checkpoint_bytes(run),
        options=tuple(options),
        would_fit=tuple(advice),
    )


def part_of(train: TrainConfig, gpus: int) -> int:
    """Samples that a GPU computes at once.

    Raises:
        ConfigError: the batch does not divide over the GPUs.
    """
    batch_size, accumulation = train.batch_size, train.accumulation
    parts = gpus * accumulation
    if batch_size % parts == 0:
        return batch_size // parts
    total = batch_size // accumulation
    below = max((n for n in range(1, gpus) if total % n == 0), default=1)
    above = next((n for n in range(gpus, total + 1) if total % n == 0), None)
    near = str(below) if above is None else f"{below} or {above}"
    raise ConfigError(
        f"train.batch_size {batch_size} does not divide over {gpus} GPUs x {accumulation} "
        f"accumulated parts: use {near} GPUs, or --set train.batch_size="
        f"{batch_size // parts * parts or parts}"
    )


def _companions(clip: str | None) -> float:
    """Bytes of the frozen CLIP, where its folder is there already."""
    file = None if clip is None else Path(clip) / WEIGHTS
    return float(file.stat().st_size) if file is not None and file.is_file() else 0.0


def _checkpoint_bytes(run: Planned) -> float:
    """Weights, AdamW's two moments and the averages, in float32."""
    return 4.0 * run.parameters * (3 + len(run.train.ema_stds))


def _option(name: str, run: Planned, means: Means, memory: Memory, flops: float) -> Option:
    train, gpu = run.train, means.gpu
    shards = name.startswith("fsdp2")
    work = train.batch_size / means.gpus * flops
    compute = work / (gpu.peak(train.precision) * means.mfu)
    sent = _sent_seconds(run, means, parts=train.accumulation if shards else 1, shards=shards)
    waits = max(0.0, sent - BACKWARD * compute)
    step = compute + waits
    rate = train.batch_size / step
    hours = train.steps * step / 3600
    cost = None if means.price is None else means.price * hours * means.gpus
    writers = means.nodes if shards else 1
    return Option(
        name=name,
        memory=memory,
        fits=memory.total <= (1 - KEPT_FREE) * gpu.memory,
        flops_per_sample=flops,
        step_seconds=step,
        waiting=waits / step,
        images_per_second=rate,
        days=hours / 24,
        gpu_hours=hours * means.gpus,
        cost=cost,
        checkpoint_seconds=_checkpoint_bytes(run) / (writers * means.disk),
        loader_bytes_per_second=rate * run.sample_bytes,
    )


def _sent_seconds(run: Planned, means: Means, *, parts: int, shards: bool) -> float:
    """Time that gradients (and gathered weights) are on the network in a step.

    A ring sends 2 (n - 1) / n of the float32 gradients; between nodes the eight GPUs of each share
    the work. FSDP2 gathers weights twice in the run's precision and sends gradients once.
    """
    if means.gpus == 1:
        return 0.0
    weight = 2 if run.train.precision == "bf16" else 4
    bytes_each = parts * (2 * weight + 4.0) if shards else 2 * 4.0
    total = bytes_each * run.parameters
    if means.nodes == 1:
        return total * (means.gpus - 1) / means.gpus / means.gpu.link
    return total * (means.nodes - 1) / means.nodes / (NODE * means.gpu.network)


def _would_fit(
    options: Sequence[Option], means: Means, batch: int, accumulation: int
) -> Iterator[str]:
    """What makes an option fit, where none does or only those that compute everything twice.

    More accumulated parts for a plain one, and where nothing fits for the smallest one as well, or
    a GPU with more memory.
    """
    smallest = min(options, key=lambda option: option.memory.total)
    room = (1 - KEPT_FREE) * means.gpu.memory
    none = not any(option.fits for option in options)
    for option in options:
        memory = option.memory
        if option.fits or not ((none and option is smallest) or "recomputing" not in option.name):
            continue
        held = memory.total - memory.activations
        for parts in range(2, batch + 1):
            if batch % parts == 0 and held + memory.activations / parts <= room:
                yield f"{option.name} with --set train.accumulation={accumulation * parts}"
                break
    if none:
        for name, gpu in GPUS.items():
            if smallest.memory.total <= (1 - KEPT_FREE) * gpu.memory:
                yield f"{smallest.name} on --gpu {name}"
