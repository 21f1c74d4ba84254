"""A plan as lines: for a terminal, and as rows of docs/scaling.md."""

from collections.abc import Iterator

from unclip.planning.memory import Memory
from unclip.planning.plan import Means, Option, Plan

MEMORY_COLUMNS = ("weights", "gradients", "AdamW", "averages", "activations", "gathered", "CLIP")


def lines(plan: Plan, means: Means) -> Iterator[str]:
    """Says all of a plan."""
    yield f"{plan.kind}: {plan.parameters:,} parameters"
    yield (
        f"a sample: {tera(plan.forward_flops)} TFLOP forward, {tera(plan.train_flops)} in training"
    )
    parts = f" in {plan.accumulation} parts" if plan.accumulation > 1 else ""
    yield (
        f"{plan.steps:,} steps of {plan.batch:,}, {plan.batch_per_gpu} a GPU at once{parts}, "
        f"{plan.precision}; {plan.epochs:.3g} times through {means.images:,.0f} samples"
    )
    yield (
        f"{means.gpus} x {means.gpu.name}, {gigabytes(means.gpu.memory)} each, at an MFU of "
        f"{means.mfu:.0%}"
    )
    yield f"data set: {size(plan.dataset_bytes)}; a checkpoint: {size(plan.checkpoint_bytes)}"
    for option in plan.options:
        yield from _option(option)
    best = plan.best
    if best is not None:
        yield f"fastest that fits: {best.name}, {best.days:.3g} days"
    would = "; ".join(plan.would_fit)
    if best is None:
        yield f"nothing fits; what would: {would or 'nothing that is known: take more GPUs'}"
    elif would:
        yield f"what would fit, too, without computing anything twice: {would}"


def _option(option: Option) -> Iterator[str]:
    yield f"{option.name}: {'fits' if option.fits else 'does NOT fit'}"
    named = zip(MEMORY_COLUMNS, parts(option.memory), strict=True)
    shares = ", ".join(f"{name} {gigabytes(value)}" for name, value in named if value)
    yield f"  memory of a GPU: {gigabytes(option.memory.total)} ({shares})"
    waits = f", {option.waiting:.0%} of it waiting for the network" if option.waiting else ""
    yield (
        f"  {option.images_per_second:,.0f} images/s, {1000 * option.step_seconds:,.0f} ms a step"
        f"{waits}"
    )
    cost = "" if option.cost is None else f", {option.cost:,.0f} dollars"
    yield f"  {option.days:.3g} days, {option.gpu_hours:,.0f} GPU-hours{cost}"
    yield (
        f"  reads {size(option.loader_bytes_per_second)}/s; a checkpoint is written in "
        f"{option.checkpoint_seconds:.3g} s"
    )


def parts(memory: Memory) -> tuple[float, ...]:
    """Bytes in the order of `MEMORY_COLUMNS`."""
    return (
        memory.weights,
        memory.gradients,
        memory.optimizer,
        memory.averages,
        memory.activations,
        memory.gathered,
        memory.companions,
    )


def tera(flops: float) -> str:
    """FLOPs in 10^12."""
    return f"{flops / 1e12:.3g}"


def gigabytes(count: float) -> str:
    """Bytes in 10^9."""
    return f"{count / 1e9:,.1f} GB"


def size(count: float) -> str:
    """Bytes in what makes a short number."""
    for unit, scale in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:,.3g} {unit}"
    return f"{count / 1e3:,.3g} kB"
