import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

Randomise = Callable[..., None]


def _randomise(module: nn.Module, seed: int = 0) -> None:
    """Gives every parameter random values, of a size that keeps activations near one."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        if parameter.dim() > 1:
            values = values / math.sqrt(parameter[0].numel())
        elif name.endswith("weight"):  # a norm's
            values = 1 + 0.3 * values
        else:
            values = 0.2 * values
        with torch.no_grad():
            parameter.copy_(values)


@pytest.fixture(autouse=True)
def same_numbers_without_gradients() -> Iterator[None]:
    torch.manual_seed(0)
    with torch.no_grad():
        yield


@pytest.fixture
def randomise() -> Randomise:
    return _randomise
