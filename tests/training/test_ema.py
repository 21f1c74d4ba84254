"""The average against its closed form."""

import pytest
import torch
from torch import nn

from unclip.training.ema import Ema


class Counter(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((2,), value))
        self.register_buffer("mean", torch.zeros(1))


def average(ema: Ema) -> torch.Tensor:
    return ema.average.get_parameter("weight")


@pytest.mark.parametrize("steps", [1, 2, 5, 200])
def test_the_average_of_a_moving_weight(steps: int) -> None:
    model, decay = Counter(0.0), 0.9
    ema = Ema(model, decay)
    values, decays = [], []
    for step in range(1, steps + 1):
        with torch.no_grad():
            model.weight.fill_(float(step % 7))
            model.get_buffer("mean").fill_(float(step))
        ema.update(model, step)
        values.append(float(step % 7))
        decays.append(min(decay, (1 + step) / (10 + step)))
    # sum_i (1 - d_i) x_i prod_{j > i} d_j; the start, which is zero, adds nothing.
    expected, share = 0.0, 1.0
    for value, d in zip(reversed(values), reversed(decays), strict=True):
        expected += share * (1 - d) * value
        share *= d
    assert torch.allclose(average(ema), torch.full((2,), expected), atol=1e-5)
    assert ema.average.get_buffer("mean").item() == steps


def test_it_approaches_a_standing_weight_at_its_rate() -> None:
    model = Counter(1.0)
    ema = Ema(Counter(0.0), 0.99)
    for step in range(2000, 2100):
        ema.update(model, step)
    assert torch.allclose(average(ema), torch.full((2,), 1 - 0.99**100), atol=1e-5)


def test_it_stays_float32_beside_a_bf16_model() -> None:
    model = Counter(1.0).to(torch.bfloat16)
    ema = Ema(model, 0.9999)
    for parameter in ema.average.parameters():
        parameter.data.zero_()
    for step in range(10**6, 10**6 + 100):
        ema.update(model, step)
    assert average(ema).dtype == torch.float32
    assert torch.allclose(average(ema), torch.full((2,), 1 - 0.9999**100), rtol=1e-3)


def test_it_is_no_part_of_the_model() -> None:
    model = Counter(1.0)
    ema = Ema(model, 0.9)
    assert not ema.average.training
    assert not any(p.requires_grad for p in ema.average.parameters())
    assert model.weight.requires_grad
    assert average(ema).data_ptr() != model.weight.data_ptr()
