import pytest
import torch
from drawn_pictures import RGB, add_disc, plain

from unclip.evaluation.counting import background, count_things, foreground, label


def flood_fill(mask: torch.Tensor) -> list[set[tuple[int, int]]]:
    """The pieces of one mask, one pixel after another."""
    height, width = mask.shape
    left = {(y, x) for y in range(height) for x in range(width) if mask[y, x]}
    pieces = []
    while left:
        piece, edge = set(), [left.pop()]
        while edge:
            y, x = edge.pop()
            piece.add((y, x))
            for neighbour in [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]:
                if neighbour in left:
                    left.remove(neighbour)
                    edge.append(neighbour)
        pieces.append(piece)
    return pieces


@pytest.mark.parametrize("density", [0.05, 0.3, 0.4, 0.6])
def test_pieces_are_those_of_a_flood_fill(density: float) -> None:
    noise = torch.rand(4, 24, 17, generator=torch.Generator().manual_seed(3))
    masks = noise < density
    for mask, labels in zip(masks, label(masks), strict=True):
        assert torch.equal(labels > 0, mask)
        pieces = flood_fill(mask)
        found = {frozenset(map(tuple, (labels == n).nonzero().tolist())) for n in labels.unique()}
        found.discard(frozenset(map(tuple, (~mask).nonzero().tolist())))
        assert found == {frozenset(piece) for piece in pieces}


def test_a_long_spiral_is_one_piece() -> None:
    mask = torch.zeros(1, 33, 33, dtype=torch.bool)
    for row in range(0, 33, 2):
        mask[0, row] = True
    for row in range(1, 33, 2):
        mask[0, row, 32 if row // 2 % 2 else 0] = True
    assert label(mask).unique().numel() == 2
    mask[0, 1] = False
    assert label(mask).unique().numel() == 3


@pytest.mark.parametrize("ground", [(1.0, 1.0, 1.0), RGB["blue"], (0.1, 0.1, 0.1)])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_separate_things(count: int, ground: tuple[float, float, float]) -> None:
    image = plain(ground)
    for x, y in [(16, 16), (48, 16), (16, 48), (48, 48)][:count]:
        add_disc(image, x, y, 10, RGB["yellow"])
    assert count_things(image[None]).tolist() == [count]


def test_touching_things_are_one_and_a_gap_parts_them() -> None:
    touching, apart = (
        add_disc(add_disc(plain(), 20, 32, 10, RGB["red"]), x, 32, 10, RGB["red"]) for x in (40, 43)
    )
    assert count_things(torch.stack([touching, apart])).tolist() == [1, 2]


def test_specks_and_details_are_no_things() -> None:
    image = add_disc(plain(), 18, 32, 12, RGB["green"])
    add_disc(image, 46, 32, 12, RGB["green"])
    add_disc(image, 32, 8, 3, RGB["green"])
    image[:, 60, 60] = -1
    assert count_things(image[None]).tolist() == [2]
    assert count_things(add_disc(plain(), 32, 32, 2, RGB["red"])[None]).tolist() == [0]


def test_blank_and_slightly_noisy_pictures_hold_nothing() -> None:
    noise = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert count_things(plain()[None] - 0.02 * noise.abs()).tolist() == [0]
    assert not foreground(plain()[None]).any()


def test_background_is_that_of_the_rim() -> None:
    image = add_disc(plain(RGB["pink"]), 32, 32, 28, RGB["blue"])
    image[:, 0, :20] = -1  # something reaches the rim
    assert torch.allclose((background(image[None])[0] + 1) / 2, torch.tensor(RGB["pink"]))
