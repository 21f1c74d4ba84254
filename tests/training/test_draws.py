"""Draws: by position alone, whatever the batch and the number of processes."""

import torch
from torch import Tensor

from unclip.training.draws import Draws, seed_layers


def all_of(draws: Draws) -> list[Tensor]:
    return [draws.normal((2, 3)), draws.integers(1000), draws.uniform(), draws.bernoulli(0.5)]


def test_a_row_depends_on_its_position_alone() -> None:
    together = all_of(Draws(7, "prior", range(8)))
    for world_size in (1, 2, 4, 8):
        part = 8 // world_size
        ranks = [
            all_of(Draws(7, "prior", range(r * part, (r + 1) * part))) for r in range(world_size)
        ]
        for whole, pieces in zip(together, zip(*ranks, strict=True), strict=True):
            assert torch.equal(whole, torch.cat(pieces))
    shuffled = all_of(Draws(7, "prior", [5, 0, 3]))
    for whole, rows in zip(together, shuffled, strict=True):
        assert torch.equal(whole[[5, 0, 3]], rows)


def test_seed_stage_and_position_each_give_another_stream() -> None:
    streams = [
        Draws(seed, stage, [position]).normal((4,))
        for seed in (0, 1)
        for stage in ("prior", "decoder")
        for position in (0, 1, 10**9)
    ]
    assert len({tuple(row.flatten().tolist()) for row in streams}) == 12


def test_calls_follow_each_other() -> None:
    draws = Draws(0, "prior", range(3))
    assert not torch.equal(draws.uniform(), draws.uniform())


def test_the_distributions() -> None:
    draws = Draws(0, "prior", range(4000))
    normal, uniform = draws.normal((8,)), draws.uniform()
    assert abs(float(normal.mean())) < 0.03
    assert abs(float(normal.std()) - 1) < 0.02
    assert 0 <= float(uniform.min()) < 0.01
    assert 0.99 < float(uniform.max()) < 1
    times = draws.integers(5)
    assert times.bincount().tolist() != [800] * 5
    assert (times.bincount() - 800).abs().max() < 120
    assert abs(float(draws.bernoulli(0.1).float().mean()) - 0.1) < 0.02
    assert not draws.bernoulli(0.0).any()
    assert draws.bernoulli(1.0).all()


def test_layers_are_seeded_by_the_place_in_the_stream() -> None:
    seed_layers(0, "prior", range(8, 12))
    first = torch.rand(3)
    torch.rand(100)
    seed_layers(0, "prior", range(8, 12))
    assert torch.equal(first, torch.rand(3))
    seed_layers(0, "prior", range(12, 16))
    assert not torch.equal(first, torch.rand(3))


def test_draws_leave_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    all_of(Draws(0, "prior", range(4)))
    assert torch.equal(torch.rand(2), expected)
