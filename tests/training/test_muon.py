"""Muon against its definition."""

import pytest
import torch
from torch import nn

from unclip.training.muon import MOMENTUM, orthogonalise
from unclip.training.optim import load_optimizer_tensors, make_optimizer, optimizer_tensors
from unclip.training.settings import TrainConfig

CONFIG = TrainConfig(
    steps=100, batch_size=8, lr=0.02, optimizer="muon", weight_decay=0.1, precision="float32"
)


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (32, 32)])
def test_singular_values_are_brought_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape) * torch.logspace(0, 1, shape[1])
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalise(matrix)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.5
    assert values.max() < 1.3
    # The directions stay: the nearest orthogonal matrix is u v (Schur products in this basis).
    inner = u.T @ found @ v.T
    assert (inner - inner.diag().diag()).abs().max() < 0.1


def test_a_step_is_as_long_as_the_paper_says() -> None:
    model = nn.Conv2d(16, 32, 3)
    before = model.weight.detach().clone()
    optimizer = make_optimizer(model, CONFIG)
    gradient = torch.randn_like(model.weight)
    model.weight.grad, model.bias.grad = gradient.clone(), torch.ones(32)  # type: ignore[union-attr]
    optimizer.step()
    step = (before * (1 - 0.02 * 0.1) - model.weight.detach()) / 0.02
    expected = 0.2 * 144**0.5 * orthogonalise(gradient.flatten(1) * (1 - MOMENTUM**2))
    assert torch.allclose(step.flatten(1), expected, atol=0.02)
    rms = float(step.square().mean().sqrt())
    assert rms == pytest.approx(0.2, rel=0.25), "as AdamW's"


def test_what_is_no_hidden_matrix_is_adamw_s() -> None:
    torch.manual_seed(0)
    muon, adamw = (nn.Conv2d(64, 3, 3) for _ in range(2))
    adamw.load_state_dict(muon.state_dict())
    for model, name in ((muon, "muon"), (adamw, "adamw")):
        config = TrainConfig(steps=9, batch_size=8, lr=0.02, optimizer=name)  # type: ignore[arg-type]
        optimizer = make_optimizer(model, config)
        for seed in range(3):
            generator = torch.Generator().manual_seed(seed)
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()
    assert all(
        torch.equal(a, b) for a, b in zip(muon.parameters(), adamw.parameters(), strict=True)
    )


def test_its_state_survives_being_written_down() -> None:
    torch.manual_seed(0)
    whole = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 3))
    optimizer = make_optimizer(whole, CONFIG)
    steps(whole, optimizer, 3)
    again = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 3))
    again.load_state_dict(whole.state_dict())
    other = make_optimizer(again, CONFIG)
    written = {k: v.clone() for k, v in optimizer_tensors(whole, optimizer).items()}
    load_optimizer_tensors(again, other, written)
    for model, own in ((whole, optimizer), (again, other)):
        steps(model, own, 2)
    assert all(map(torch.equal, whole.parameters(), again.parameters()))


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    for step in range(count):
        generator = torch.Generator().manual_seed(step)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
