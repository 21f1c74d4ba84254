"""Drawings of the built set: what the judge may see, and what they look like as pictures."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_set import write_small_set

from unclip.data.drawings.records import Drawing
from unclip.errors import DataError
from unclip.evaluation.built import MAX_SCENES, BuiltWorld
from unclip.evaluation.colours import is_dominant
from unclip.evaluation.drawn import drawing_case, in_fixed_order, is_for_the_judge, render
from unclip.evaluation.facts import question
from unclip.evaluation.measure import lay_out
from unclip.evaluation.suite import Plan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("set")


@pytest.fixture(scope="module")
def drawings(folder: Path) -> list[Drawing]:
    return write_small_set(folder)


def test_the_judge_learns_nothing_that_it_is_asked(folder: Path, drawings: list[Drawing]) -> None:
    learned = {drawing.id for drawing in drawings if is_for_the_judge(drawing)}
    world = BuiltWorld(folder)
    asked = {
        case.key.id
        for group in ("heldout_drawings", "heldout_concepts")
        for case in world.cases(group, 1000)
    }
    assert not learned & asked
    by_split = {drawing.id: (drawing.tier, drawing.split) for drawing in drawings}
    assert {by_split[key] for key in asked} == {("B", "val"), ("A", "test")}
    assert {by_split[key] for key in learned} == {("A", "train"), ("A", "test")}
    tests = [drawing for drawing in drawings if drawing.split == "test"]
    half = sum(drawing.id in learned for drawing in tests)
    assert 0.35 * len(tests) < half < 0.65 * len(tests)


def test_the_order_is_fixed_and_mixed(drawings: list[Drawing]) -> None:
    ordered = in_fixed_order(drawings)
    assert ordered == in_fixed_order(drawings[::-1])
    assert len({drawing.tier for drawing in ordered[:40]}) == 3


def test_a_case_states_the_style_of_its_caption(drawings: list[Drawing]) -> None:
    case = drawing_case(drawings[0])
    assert (case.prompt, case.facts.style) == ("a apple, line art", "line art")
    assert question(case.facts) == "apple | look: line art"
    nested = replace(drawings[0], styles=("art", "line art"))
    assert drawing_case(nested).facts.style == "line art"


def test_a_render_stands_on_its_ground(folder: Path, drawings: list[Drawing]) -> None:
    for drawing in drawings[:3]:
        image = render(folder, drawing, 64, ground=(255, 230, 120))
        assert torch.equal(image[:, 0, 0], torch.tensor([255, 230, 120]) / 127.5 - 1)
        assert is_dominant(image[None], [drawing.colors[0][0]])[0]


def test_see_through_edges_have_no_dark_rim(tmp_path: Path, drawings: list[Drawing]) -> None:
    """A white disc on white is nothing, whatever colour lies under what is see-through."""
    image = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
    image.paste((255, 255, 255, 255), (51, 51, 203, 203))
    path = tmp_path / drawings[0].file_name
    path.parent.mkdir(parents=True)
    image.save(path, "WEBP", lossless=True, exact=True)
    assert float(render(tmp_path, drawings[0], 64).min()) > 0.98


def test_the_reference_is_of_tier_c_and_held_out_scenes(folder: Path, tmp_path: Path) -> None:
    world = BuiltWorld(folder)
    reference = world.reference(20, 64)
    assert reference.shape == (20, 3, 64, 64)
    assert len({row.numpy().tobytes() for row in reference}) > 15
    assert world.num_reference == 60 + MAX_SCENES

    write_small_set(tmp_path, foreign=0)
    work = lay_out(BuiltWorld(tmp_path), Plan(pictures={}, reference=9, enlarged={}), (64,))
    assert work.left_out == ("KID and FID (needs a --set with tier C)",)


def test_damage_is_told(folder: Path, drawings: list[Drawing], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no finished set"):
        BuiltWorld(tmp_path)
    with pytest.raises(DataError, match="build the set anew"):
        render(tmp_path, drawings[0], 64)
    path = tmp_path / drawings[0].file_name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"RIFF")
    with pytest.raises(DataError, match="build the set anew"):
        render(tmp_path, drawings[0], 64)
