"""The rungs of training speed: each adds one thing to the rung before it."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """How a training step is computed."""

    name: str
    channels_last: bool = False
    """Memory format of convolutional networks."""
    bf16: bool = False
    """Autocast of the forward pass."""
    fused: bool = False
    """Optimiser and moving averages in a few kernels, not in several for every tensor."""
    compiled: bool = False
    """`torch.compile`, block by block."""


def ladder(*, convolutional: bool, compiled: bool) -> tuple[Rung, ...]:
    """Returns the rungs from plain PyTorch upwards; channels last is nothing to a transformer."""
    rung = Rung(name="eager")
    rungs = [rung]
    if convolutional:
        rungs.append(rung := replace(rung, name="+ channels last", channels_last=True))
    rungs.append(rung := replace(rung, name="+ bf16", bf16=True))
    rungs.append(rung := replace(rung, name="+ fused optimiser and EMA", fused=True))
    if compiled:
        rungs.append(replace(rung, name="+ compile", compiled=True))
    return tuple(rungs)


def without_channels_last(rungs: tuple[Rung, ...]) -> Rung:
    """The trainer's own way on a CPU, where group norm costs more with channels last."""
    top = next(rung for rung in rungs if rung.fused and not rung.compiled)
    return replace(top, name="as the trainer does", channels_last=False)
