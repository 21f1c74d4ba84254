"""The order of the data: every sample once an epoch, whatever the processes and the start."""

from itertools import islice
from typing import Any

import numpy as np
import pytest
from pairs import Pairs
from torch.utils.data import default_collate

from unclip.errors import ConfigError, DataError
from unclip.training.data import PositionBatches, make_loader
from unclip.training.permutation import Permutation
from unclip.training.settings import TrainConfig


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(**{"steps": 6, "batch_size": 8, "lr": 0.1, **changes})


def keys(batches: PositionBatches) -> list[tuple[int, int]]:
    return [key for batch in batches for key in batch]


def test_an_epoch_has_every_sample_once() -> None:
    read = keys(PositionBatches(12, config(), 0, 0, 1))
    assert [position for _, position in read] == list(range(48))
    for epoch in range(4):
        indices = [index for index, position in read if position // 12 == epoch]
        assert sorted(indices) == list(range(12))
        assert indices == Permutation(0, epoch, 12)(np.arange(12)).tolist()
    assert read[:12] != [(index, position - 12) for index, position in read[12:24]]


def test_a_batch_may_reach_over_several_epochs() -> None:
    read = keys(PositionBatches(3, config(steps=2), 0, 0, 1))
    assert [position for _, position in read] == list(range(16))
    for epoch in range(5):
        assert sorted(index for index, _ in read[epoch * 3 : epoch * 3 + 3]) == [0, 1, 2]


@pytest.mark.parametrize(("world_size", "accumulation"), [(1, 1), (2, 1), (4, 2), (1, 8), (8, 1)])
def test_a_step_reads_the_same_samples_however_it_is_split(
    world_size: int, accumulation: int
) -> None:
    settings = config(accumulation=accumulation)
    ranks = [list(PositionBatches(12, settings, 0, rank, world_size)) for rank in range(world_size)]
    expected = keys(PositionBatches(12, config(), 0, 0, 1))
    for step in range(6):
        parts = slice(step * accumulation, (step + 1) * accumulation)
        read = [key for rank in ranks for batch in rank[parts] for key in batch]
        assert sorted(read, key=lambda key: key[1]) == expected[step * 8 : step * 8 + 8]


@pytest.mark.parametrize("first_step", range(7))
def test_a_resumed_run_reads_the_rest(first_step: int) -> None:
    whole = list(PositionBatches(12, config(), 0, 0, 1))
    rest = PositionBatches(12, config(), first_step, 0, 1)
    assert list(rest) == whole[first_step:]
    assert len(rest) == 6 - first_step


def test_positions_are_those_of_the_batches() -> None:
    batches = PositionBatches(12, config(accumulation=2), 2, 1, 2)
    expected = [list(batches.positions(step, part)) for step in range(2, 6) for part in range(2)]
    assert [[position for _, position in batch] for batch in batches] == expected


def test_what_cannot_be_split_or_read_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"8 does not divide over 3 processes x 1 .* multiple of 3"
    ):
        PositionBatches(12, config(), 0, 0, 3)
    with pytest.raises(DataError, match="empty"):
        PositionBatches(0, config(), 0, 0, 1)


@pytest.mark.parametrize(
    "num_workers",
    [0, pytest.param(1, marks=pytest.mark.slow)],  # a spawned worker imports torch
)
def test_the_loader_keeps_the_order(num_workers: int) -> None:
    batches = PositionBatches(12, config(), 1, 0, 1)
    loaded = list(make_loader(Pairs(), batches, num_workers))
    expected = [default_collate([Pairs()[key] for key in batch]) for batch in batches]
    assert len(loaded) == 5
    for got, want in zip(loaded, expected, strict=True):
        assert got["position"].tolist() == want["position"].tolist()
        assert got["caption"] == want["caption"]
    assert list(islice(iter(batches), 1)) == list(islice(iter(batches), 1))
