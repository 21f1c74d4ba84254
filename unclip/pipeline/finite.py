"""A picture of numbers that are not finite is an error, never a black square.

Samplers clip what they predict, which would hide an overflow as white; so the networks' own answers
are watched, on the device, and looked at once when a stage has run.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from unclip.errors import NumericalError
from unclip.pipeline.devices import dtype_name


@contextmanager
def watch(network: nn.Module, stage: str) -> Iterator[None]:
    """Watches a network's answers while a stage runs.

    Raises:
        NumericalError: one of them held a value that is not finite.
    """
    finite: list[Tensor] = []

    def look(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        alright = output.isfinite().all()
        finite[:] = [alright & finite[0]] if finite else [alright]

    handle = network.register_forward_hook(look)
    try:
        yield
    finally:
        handle.remove()
    if finite and not bool(finite[0]):
        _raise(stage, next(network.parameters()).dtype)


def check_finite(values: Tensor, stage: str) -> None:
    """Raises NumericalError unless all values are finite."""
    if not bool(values.isfinite().all()):
        _raise(stage, values.dtype)


def _raise(stage: str, dtype: torch.dtype) -> None:
    remedy = "the weights are damaged" if dtype == torch.float32 else "use --dtype float32"
    raise NumericalError(
        f"the stage {stage} gave values that are not finite in {dtype_name(dtype)}: {remedy}"
    )
