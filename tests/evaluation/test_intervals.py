import math

import pytest
import torch

from unclip.evaluation.intervals import Z, mean, share


def flags(hits: int, count: int) -> torch.Tensor:
    return torch.arange(count) < hits


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (0, 20), (1, 7), (13, 20), (96, 100)])
def test_share_solves_wilsons_equation(hits: int, count: int) -> None:
    """Its ends are the p whose own spread just reaches what was seen: |p^ - p| = z sqrt(pq / n)."""
    found = share(flags(hits, count))
    assert (found.value, found.count) == (hits / count, count)
    for end in (found.low, found.high):
        if end in (0.0, 1.0):
            continue
        gap = abs(hits / count - end)
        assert gap == pytest.approx(Z * math.sqrt(end * (1 - end) / count), abs=1e-9)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_share_of_published_example() -> None:
    """Newcombe 1998, table I: 81 of 263 gives .2553 to .3662; 0 of 20 gives 0 to .1611."""
    found = share(flags(81, 263))
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    none = share(flags(0, 20))
    assert (none.low, round(none.high, 4)) == (0.0, 0.1611)
    every = share(flags(20, 20))
    assert (round(every.low, 4), every.high) == (0.8389, 1.0)


def test_mean_agrees_with_the_normal_interval() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(1)) * 3 + 5
    found = mean(values)
    assert found.value == pytest.approx(float(values.double().mean()))
    reach = Z * float(values.std()) / 20
    assert found.high - found.value == pytest.approx(reach, rel=0.1)
    assert found.value - found.low == pytest.approx(reach, rel=0.1)
    assert found == mean(values)


def test_mean_of_equal_values_is_sure() -> None:
    found = mean(torch.full((5,), 2.5))
    assert (found.value, found.low, found.high) == (2.5, 2.5, 2.5)


def test_nothing_to_count() -> None:
    with pytest.raises(ValueError, match="expected 1 or more"):
        share(torch.zeros(0, dtype=torch.bool))
    with pytest.raises(ValueError, match="expected 1 or more"):
        mean(torch.zeros(0))
