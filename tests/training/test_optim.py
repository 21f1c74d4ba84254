"""The optimiser: what decays, the schedule, and a state that survives being written down."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from unclip.errors import ConfigError
from unclip.training.ema import Ema
from unclip.training.optim import (
    learning_rate,
    make_optimizer,
    optimizer_tensors,
    set_learning_rate,
)
from unclip.training.progress import Progress, TrainState
from unclip.training.settings import TrainConfig
from unclip.training.state import Checkpoints


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(**{"steps": 100, "batch_size": 8, "lr": 0.1, **changes})


def test_warmup_rises_linearly_and_stays() -> None:
    rates = [learning_rate(config(warmup_steps=4), step) for step in range(8)]
    assert rates == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1, 0.1, 0.1])


def test_cosine_falls_to_zero() -> None:
    settings = config(warmup_steps=20, decay="cosine")
    assert learning_rate(settings, 20) == pytest.approx(0.1)
    assert learning_rate(settings, 60) == pytest.approx(0.05)
    assert learning_rate(settings, 40) == pytest.approx(0.05 * (1 + math.cos(math.pi / 4)))
    assert learning_rate(settings, 100) == pytest.approx(0)
    rates = [learning_rate(settings, step) for step in range(20, 101)]
    assert rates == sorted(rates, reverse=True)


def test_only_matrices_decay() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.GroupNorm(1, 3), nn.Linear(3, 3))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = make_optimizer(model, config(weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        factor = 1 - 0.1 * 0.5 if name in ("0.weight", "2.weight") else 1.0
        assert torch.allclose(parameter, before[name] * factor), name


def test_frozen_weights_are_left_out() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    optimizer = make_optimizer(model, config())
    assert [len(group["params"]) for group in optimizer.param_groups] == [1]


def test_the_fused_step_is_the_paper_s() -> None:
    model = nn.Linear(3, 2, bias=False)
    weight = model.weight.detach().double().clone()
    optimizer = make_optimizer(model, config(weight_decay=0.1, betas=(0.8, 0.9)))
    first, second = torch.zeros_like(weight), torch.zeros_like(weight)
    for step in range(1, 6):
        grad = torch.randn(2, 3)
        model.weight.grad = grad.clone()
        set_learning_rate(optimizer, 0.1 / step)
        optimizer.step()
        # Loshchilov & Hutter 2019, algorithm 2.
        first = 0.8 * first + 0.2 * grad.double()
        second = 0.9 * second + 0.1 * grad.double() ** 2
        weight *= 1 - 0.1 / step * 0.1
        update = first / (1 - 0.8**step) / ((second / (1 - 0.9**step)).sqrt() + 1e-8)
        weight -= 0.1 / step * update
    assert torch.allclose(model.weight.double(), weight, atol=1e-6)


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        optimizer.zero_grad()
        model(torch.randn(2, 4, 6, 6, generator=generator)).square().mean().backward()
        optimizer.step()


def conv(layout: torch.memory_format) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 2, 1), nn.Conv2d(2, 2, 3, groups=2))
    return model.to(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_state_written_as_plain_tensors_goes_on_bit_exactly(
    tmp_path: Path, layout: torch.memory_format
) -> None:
    whole = conv(layout)
    optimizer = make_optimizer(whole, config())
    steps(whole, optimizer, 3, seed=1)
    assert set(optimizer_tensors(whole, optimizer)) == {
        f"{kind}.{name}"
        for kind in ("exp_avg", "exp_avg_sq", "step")
        for name, _ in whole.named_parameters()
    }
    # What a file holds: contiguous copies, whatever the layout was.
    average = Ema(nn.Linear(1, 1), (0.1,))
    Checkpoints(tmp_path, 2, {}).save(TrainState(whole, average, optimizer, Progress(step=3)))
    steps(whole, optimizer, 3, seed=2)

    resumed = conv(layout)
    again = make_optimizer(resumed, config())
    Checkpoints(tmp_path, 2, {}).load_newest(TrainState(resumed, average, again, Progress()))
    steps(resumed, again, 3, seed=2)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "train.steps is 0, expected 1 or more"),
        ({"lr": -1.0}, "train.lr is -1.0, expected 0 or more"),
        ({"ema_stds": (0.05, 0.3)}, r"ema_stds is \[0.05, 0.3\], .* from 0.001 to 0.288"),
        ({"ema_stds": (0.1, 0.1000000001)}, "expected different lengths"),
        ({"ema_final": 0.2}, r"ema_final is 0.2, expected one of train.ema_stds \(0.05, 0.1\)"),
        ({"betas": (0.9, 1.0)}, r"train.betas is \[0.9, 1.0\]"),
        ({"keep": 1}, "train.keep is 1, expected 2 or more"),
        ({"max_nonfinite": 0}, "train.max_nonfinite is 0"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(**change)
