"""The order of an epoch: every number once, spread evenly, other for another seed or epoch."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from unclip.training.permutation import Permutation


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**63 - 1), st.integers(0, 10**6))
def test_every_number_stands_at_one_place(length: int, seed: int, epoch: int) -> None:
    order = Permutation(seed, epoch, length)
    found = order(np.arange(length))
    assert sorted(found.tolist()) == list(range(length))
    # A place alone gives what it gives among others.
    place = seed % length
    assert order(np.array([place])).tolist() == [found[place]]


@settings(max_examples=20, deadline=None)
@given(st.integers(10**9, 10**12), st.integers(0, 2**32))
def test_an_endless_set_costs_no_more(length: int, seed: int) -> None:
    first = seed % (length - 5000)
    found = Permutation(seed, 0, length)(np.arange(first, first + 5000))
    assert len(set(found.tolist())) == 5000
    assert 0 <= found.min() < length / 100
    assert length * 0.99 < found.max() < length


def test_seed_and_epoch_give_another_order() -> None:
    places = np.arange(50)
    orders = {tuple(Permutation(s, e, 50)(places).tolist()) for s in range(5) for e in range(5)}
    assert len(orders) == 25


def test_numbers_and_their_neighbours_are_spread_evenly() -> None:
    """Over many epochs each number comes first as often as any, and each pair follows itself."""
    orders = np.stack([Permutation(3, epoch, 12)(np.arange(12)) for epoch in range(6000)])
    counts = np.stack([np.bincount(column, minlength=12) for column in orders.T])
    assert counts.min() > 500 - 5 * 21.4  # five standard deviations of a binomial
    assert counts.max() < 500 + 5 * 21.4
    pairs = np.zeros((12, 12), np.int64)
    np.add.at(pairs, (orders[:, :-1], orders[:, 1:]), 1)
    assert (pairs.diagonal() == 0).all()
    expected = 6000 * 11 / 132
    others = pairs[~np.eye(12, dtype=bool)]
    assert (abs(others - expected) < 0.3 * expected).all()
