"""A picture of numbers that are not finite is an error, never a black square.

Samplers clip what they predict, which would hide an overflow as white; so the networks' own answers
are watched, on the device, and looked at once when a stage has run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

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
    weight = next(network.parameters())
    finite = _flag(network, weight.device)

    def look(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        finite.logical_and_(output.isfinite().all())

    handle = network.register_forward_hook(look)
    try:
        yield
    finally:
        handle.remove()
    if not bool(finite):
        _raise(stage, weight.dtype)


_flags: "WeakKeyDictionary[nn.Module, Tensor]" = WeakKeyDictionary()


def _flag(network: nn.Module, device: torch.device) -> Tensor:
    """True, in the same place every time: a recorded graph goes on writing there."""
    flag = _flags.get(network)
    if flag is None or flag.device != device:
        with torch.inference_mode(False):
            flag = torch.ones((), dtype=torch.bool, device=device)
        _flags[network] = flag
    return flag.fill_(True)


def check_finite(values: Tensor, stage: str) -> None:
    """Raises NumericalError unless all values are finite."""
    if not bool(values.isfinite().all()):
        _raise(stage, values.dtype)


def _raise(stage: str, dtype: torch.dtype) -> None:
    remedy = "the weights are damaged" if dtype == torch.float32 else "use --dtype float32"
    raise NumericalError(
        f"the stage {stage} gave values that are not finite in {dtype_name(dtype)}: {remedy}"
    )
