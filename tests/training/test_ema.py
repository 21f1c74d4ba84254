"""The averages against their closed form."""

import pytest
import torch
from torch import nn

from unclip.training.ema import Ema, put_weights, track_of, without_weights
from unclip.training.profiles import gamma_of


class Counter(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((2,), value))
        self.register_buffer("mean", torch.zeros(1))


@pytest.mark.parametrize("steps", [1, 2, 5, 200])
@pytest.mark.parametrize("std", [0.05, 0.28])
def test_the_average_of_a_moving_weight(steps: int, std: float) -> None:
    model = Counter(99.0)  # a start of which nothing may remain
    ema = Ema(model, (std, 0.1))
    values = []
    for step in range(1, steps + 1):
        with torch.no_grad():
            model.weight.fill_(float(step % 7))
            model.get_buffer("mean").fill_(float(step))
        ema.update(model, step)
        values.append(float(step % 7))
    # Weights that stand still between steps, averaged by the continuous profile: step j weighs
    # ((j / t)^(gamma + 1) - ((j - 1) / t)^(gamma + 1)).
    power = gamma_of(std) + 1
    share = (torch.arange(steps + 1, dtype=torch.float64) / steps).pow(power).diff()
    expected = float(share @ torch.tensor(values, dtype=torch.float64))
    found = track_of(ema.tensors(), std)
    assert torch.allclose(found["weight"], torch.full((2,), expected), atol=1e-5)
    assert found["mean"].item() == steps
    assert set(ema.tensors()) == {f"{s:g}.{n}" for s in (std, 0.1) for n in ("weight", "mean")}


def test_it_stays_float32_beside_a_bf16_model() -> None:
    model = Counter(0.0).to(torch.bfloat16)
    ema, steps = Ema(model, (0.05,)), range(10**6 + 1, 10**6 + 101)
    nn.init.ones_(model.weight)
    for step in steps:
        ema.update(model, step)
    found = track_of(ema.tensors(), 0.05)["weight"]
    expected = 1 - (10**6 / steps[-1]) ** (gamma_of(0.05) + 1)
    assert found.dtype == torch.float32
    assert torch.allclose(found, torch.full((2,), expected), rtol=1e-3)


def test_a_model_shows_an_average_without_a_copy_of_it() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)).to(memory_format=torch.channels_last)
    ema, shown = Ema(model, (0.1,)), without_weights(model)
    assert all(p.is_meta for p in shown.parameters())
    ema.update(model, 1)
    averages = track_of(ema.tensors(), 0.1)
    put_weights(shown, averages)
    assert not shown.training
    assert not any(p.requires_grad for p in shown.parameters())
    assert all(p.requires_grad for p in model.parameters())
    for name, value in shown.state_dict().items():
        assert value.data_ptr() == averages[name].data_ptr()
        assert value.data_ptr() != model.state_dict()[name].data_ptr()
    assert torch.equal(shown(torch.ones(1, 2)), model.eval()(torch.ones(1, 2)))
