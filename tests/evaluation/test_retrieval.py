import pytest
import torch

from unclip.errors import DataError
from unclip.evaluation.retrieval import distractors, finds_own, pairwise_distance


def unit(rows: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)


def test_distractors_are_different_questions() -> None:
    questions = [f"a thing {i % 40}" for i in range(60)]
    rows = distractors(questions, others=30)
    assert rows.shape == (60, 31)
    for place, row in enumerate(rows.tolist()):
        said = [questions[i] for i in row]
        assert row[0] == place
        assert len(set(said)) == 31
    assert torch.equal(rows, distractors(questions, others=30))
    assert not torch.equal(rows, distractors(questions, others=30, seed=1))


def test_too_few_questions() -> None:
    with pytest.raises(DataError, match="got 3 different captions, expected more than 99"):
        distractors(["a", "b", "c", "a"])


def test_finds_own() -> None:
    texts = torch.eye(4)
    candidates = texts[torch.tensor([[0, 1, 2], [1, 0, 2], [2, 3, 0], [3, 0, 1]])]
    images = unit(torch.tensor([[1.0, 0, 0, 0], [0.9, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 0.9]]))
    assert finds_own(images, candidates).tolist() == [True, True, False, False]


def test_chance_is_one_in_a_hundred() -> None:
    """A judge that sees nothing is right once in a hundred; one that always says the same, never
    for the wrong reason: a tie is a miss."""
    generator = torch.Generator().manual_seed(0)
    images = unit(torch.randn(4000, 16, generator=generator))
    candidates = unit(torch.randn(4000, 100, 16, generator=generator))
    assert 0.005 < float(finds_own(images, candidates).float().mean()) < 0.016
    same = candidates[:, :1].expand(-1, 100, -1)
    assert not finds_own(images, same).any()


def test_pairwise_distance() -> None:
    alike = torch.tensor([[1.0, 0], [1, 0], [1, 0]])
    across = torch.tensor([[1.0, 0], [0, 1], [-1, 0]])
    found = pairwise_distance(torch.stack([alike, across]))
    assert found.tolist() == pytest.approx([0.0, (1 + 1 + 2) / 3])
