"""Codes: principal components in buckets, fitted in one pass, and back."""

import pytest
import torch

from prior.codes import REACH, Codes, Moments, dot_edges
from unclip.errors import DataError

DIM, NUM, BUCKETS = 12, 5, 64


def sample(count: int, rank: int = DIM) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    falling = torch.linspace(3, 0.1, DIM)[:rank]
    turned = torch.linalg.qr(torch.randn(DIM, DIM, generator=generator)).Q[:rank]
    return torch.randn(count, rank, generator=generator) * falling @ turned + 0.5


def fit(embeds: torch.Tensor, num: int = NUM) -> Codes:
    moments = Moments(DIM)
    for batch in embeds.split(7):
        moments.add(batch)
    return moments.fit(num)


def test_one_pass_finds_what_a_decomposition_finds() -> None:
    embeds = sample(400)
    codes = fit(embeds)
    _, singular, rows = torch.linalg.svd((embeds - embeds.mean(0)).double(), full_matrices=False)
    torch.testing.assert_close(codes.mean, embeds.mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(codes.std.double(), singular[:NUM] / 20, atol=1e-5, rtol=1e-4)
    overlap = (codes.components.T.double() @ rows[:NUM].T).abs()
    torch.testing.assert_close(overlap, torch.eye(NUM).double(), atol=1e-3, rtol=0)


def test_every_code_comes_back() -> None:
    codes = fit(sample(400))
    generator = torch.Generator().manual_seed(1)
    written = torch.randint(BUCKETS, (300, NUM), generator=generator)
    written[0], written[1] = 0, BUCKETS - 1
    assert torch.equal(codes.encode(codes.decode(written, BUCKETS), BUCKETS), written)


def test_an_embedding_comes_back_to_half_a_bucket() -> None:
    embeds = sample(400, rank=NUM)
    codes = fit(embeds)
    inside = (((embeds - codes.mean) @ codes.components / codes.std).abs() < REACH).all(1)
    back = codes.decode(codes.encode(embeds, BUCKETS), BUCKETS)
    off = ((back - embeds) @ codes.components / codes.std).abs()[inside]
    assert inside.sum() > 350
    assert off.max() <= REACH / BUCKETS + 1e-4
    # What is outside goes into the outermost bucket.
    far = codes.mean + 100 * codes.std[0] * codes.components[:, 0]
    assert codes.encode(far[None], BUCKETS)[0, 0] == BUCKETS - 1


def test_too_few_dimensions_are_told() -> None:
    with pytest.raises(DataError, match="span 3 dimensions of CLIP's space"):
        fit(sample(400, rank=3))
    with pytest.raises(DataError, match="the 1 pictures of this run span 0 dimensions"):
        fit(sample(1))


def test_buckets_of_the_dot_product_hold_equally_many() -> None:
    dots = torch.randn(4000, generator=torch.Generator().manual_seed(2)) ** 3
    counts = torch.bincount(torch.bucketize(dots, dot_edges(dots, 8)), minlength=8)
    assert counts.shape == (8,)
    assert (counts - 500).abs().max() <= 2
