from pathlib import Path

import pytest
import torch
from drawn_pictures import RGB, add_disc, plain
from small_artists import ColourJudge, save_small_judge

from unclip.checkpoint import StageFolder, save_stage
from unclip.errors import CheckpointError
from unclip.evaluation.facts import Facts, Shown
from unclip.evaluation.judge import halves, load_judge, stands_left_and_right


def pair(left: str, right: str, ground: tuple[float, float, float] = (1.0, 1.0, 1.0)):
    image = plain(ground)
    add_disc(image, 16, 32, 10, RGB[left])
    return add_disc(image, 48, 32, 10, RGB[right])


def test_halves_stand_in_the_middle_of_their_background() -> None:
    images = torch.stack([pair("red", "blue"), pair("green", "pink", RGB["yellow"])])
    left, right = halves(images)
    assert left.shape == right.shape == images.shape
    assert torch.equal(left[..., 16:48], images[..., :32])
    assert torch.equal(right[..., 16:48], images[..., 32:])
    for half in (left, right):
        assert torch.equal(half[..., :16], half[..., 48:])
        assert torch.equal(half[..., 0, 0], images[..., 0, 0])


def test_left_and_right() -> None:
    asked = Facts(
        kind="pair",
        things=(Shown(noun="ball", colour="red"), Shown(noun="ball", colour="blue")),
    )
    mixed = add_disc(add_disc(plain(), 32, 20, 8, RGB["red"]), 32, 46, 8, RGB["blue"])
    only_one = add_disc(plain(), 16, 32, 10, RGB["red"])
    images = [pair("red", "blue"), pair("blue", "red"), pair("red", "red"), mixed, only_one]
    images += [plain(), pair("red", "blue", RGB["yellow"])]
    found = stands_left_and_right(ColourJudge(), torch.stack(images), [asked] * len(images))
    assert found.tolist() == [True, False, False, False, False, False, True]


def test_a_judge_comes_from_a_folder(tmp_path: Path) -> None:
    judge = load_judge(save_small_judge(tmp_path / "judge"))
    images = torch.randn(3, 3, 64, 64).clamp(-1, 1)
    facts = [Facts(kind="single", things=(Shown(noun=noun),)) for noun in ("cat", "dog", "cat")]
    seen, read = judge.see(images), judge.read(facts)
    assert torch.allclose(seen.norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.allclose(read.norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.equal(read[0], read[2])
    assert not torch.allclose(read[0], read[1])
    assert torch.allclose(judge.see(images[1:2]), seen[1:2], atol=1e-5)
    assert judge.name == load_judge(tmp_path / "judge").name


def test_no_judge(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no stage folder"):
        load_judge(tmp_path)
    save_stage(tmp_path / "prior", StageFolder("prior", {}, {}, {"x": torch.zeros(1)}))
    with pytest.raises(CheckpointError, match="holds a prior, expected a clip"):
        load_judge(tmp_path / "prior")
