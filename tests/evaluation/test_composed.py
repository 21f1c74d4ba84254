"""Composed scenes as cases: nothing that is held out among the seen ones, and all that is stated
is there."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from small_artists import ColourJudge, Copyist
from small_set import THINGS, write_small_set

from unclip.data.composer.heldout import is_held_out
from unclip.data.composer.world import pairs
from unclip.errors import ConfigError
from unclip.evaluation.built import BuiltWorld
from unclip.evaluation.composed import RECIPES, SUITE_SEED
from unclip.evaluation.enlarging import resample
from unclip.evaluation.facts import ASTRONAUT_PROMPT, question
from unclip.evaluation.figures import shows_colour, shows_count, shows_no_colour
from unclip.evaluation.measure import lay_out, measure
from unclip.evaluation.sharpness import edge_width, edges, psnr
from unclip.evaluation.suite import GROUPS, Group, Plan


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> BuiltWorld:
    folder = tmp_path_factory.mktemp("set")
    write_small_set(folder)
    return BuiltWorld(folder)


def test_it_knows_every_group_but_what_few_sources_draw(world: BuiltWorld) -> None:
    """The small set has two sources, and these take four."""
    missing = [group for group in GROUPS if not world.cases(group, 2)]
    assert missing == ["diversity", "things"]


def test_single_things_are_asked_for_by_name_and_true_in_colour(tmp_path: Path) -> None:
    sources = ("noto", "fluent-hc", "twemoji", "fluent-flat", "fluent-emoji")
    write_small_set(tmp_path, sources=sources)
    world = BuiltWorld(tmp_path)
    cases = world.cases("things", 99)
    assert [case.prompt for case in cases[:5]] == [case.prompt for case in world.cases("things", 5)]
    assert {case.prompt for case in cases} >= {"an owl", "a bus", "an elephant"}
    for case in cases:
        assert question(case.facts) == case.facts.things[0].noun
        assert {d.source for d in case.key} == {*sources} - {"fluent-hc"}
    firsts = {case.key[0].source for case in cases}
    assert len(firsts) > 1, "the true pictures are of one hand"
    assert world.truth(cases[:3], 64).shape == (3, 3, 64, 64)


def test_held_out_means_held_out(world: BuiltWorld) -> None:
    for case in world.cases("seen", 40):
        assert not any(map(is_held_out, pairs(case.key)))
    for case in world.cases("heldout_compositions", 10):
        assert any(map(is_held_out, pairs(case.key)))


@pytest.mark.parametrize("group", ["seen", "colour", "grey", "count", "sides"])
def test_cases_are_fixed_and_state_what_is_there(world: BuiltWorld, group: Group) -> None:
    cases = world.cases(group, 12)
    assert cases == world.cases(group, 12)
    for case in cases:
        for thing in case.facts.things:
            assert thing.colour is None or thing.colour in case.prompt
        assert case.facts.style is not None
        assert case.facts.style in case.prompt
        assert (case.facts.ground or case.facts.place or "") in case.prompt
    first, other = world.truth(cases, 64), world.truth(cases, 64, take=1)
    assert torch.equal(first, world.truth(cases, 64))
    assert first.shape == (12, 3, 64, 64)
    assert not torch.equal(first, other)


def test_pixel_checks_hold_on_the_truth(world: BuiltWorld) -> None:
    cases = world.cases("colour", 24)
    assert shows_colour(world.truth(cases, 64), cases).float().mean() > 0.9
    cases = world.cases("grey", 12)
    assert shows_no_colour(world.truth(cases, 64), cases).all()
    cases = world.cases("count", 24)
    assert shows_count(world.truth(cases, 64), cases).float().mean() > 0.9
    assert {case.facts.count for case in cases} == {2, 3, 4}


def test_sides_are_said_both_ways(world: BuiltWorld) -> None:
    for number, case in enumerate(world.cases("sides", 6)):
        left, right = (case.prompt.index(thing.words) for thing in case.facts.things)
        assert (left < right) == (number % 2 == 0)
        assert [thing.noun for thing in case.facts.things] == [t.noun for t in case.key.things]


def test_the_astronaut(world: BuiltWorld) -> None:
    cases = world.cases("astronaut", 3)
    assert {case.prompt for case in cases} == {ASTRONAUT_PROMPT}
    assert {case.key.filter for case in cases} == {"pencil drawing"}
    for case in cases:
        assert [thing.noun for thing in case.key.things] == ["astronaut", "horse"]


def test_other_scenes_have_other_seeds(world: BuiltWorld) -> None:
    first = next(world.scenes.scenes(RECIPES["seen"]))
    assert first == next(world.scenes.scenes(RECIPES["seen"], SUITE_SEED))
    assert first != next(world.scenes.scenes(RECIPES["seen"], SUITE_SEED + 1))


def test_the_whole_suite_on_the_truth(world: BuiltWorld) -> None:
    plan = Plan(
        pictures={"seen": 6, "heldout_compositions": 4, "heldout_drawings": 5, "count": 4},
        variations=3,
        reference=20,
        enlarged={},
    )
    work = lay_out(world, plan, (64,))
    cases = [case for found in work.cases.values() for case in found]
    found = measure(Copyist(world, cases), ColourJudge(), world, work, lambda _: None)
    keys = {figure.key for figure in found.figures}
    assert {"retrieval_seen", "retrieval_heldout_drawings", "count", "fid", "kid"} <= keys
    assert found["fid"].made == found["fid"].real
    assert found.left_out == ()
    assert len(THINGS) == len(set(THINGS))


def test_renders_are_of_the_set_s_own_vectors(tiny_set: Path) -> None:
    large, again, small = (BuiltWorld(tiny_set).renders(2, side) for side in (256, 256, 64))
    assert torch.equal(large, again)
    shrunk = torch.nn.functional.avg_pool2d(large, 4)
    assert (shrunk - small).abs().mean() < 0.05
    assert (shrunk - small.flip(0)).abs().mean() > 0.1


@pytest.mark.slow
def test_renders_are_sharp_and_what_enlarging_loses_is_seen(tiny_set: Path) -> None:
    """Pictures painted from the sprites, which are 96 pixels wide, would be soft themselves."""
    world = BuiltWorld(tiny_set)
    large = world.renders(5, 512)

    def width(images: torch.Tensor, truth: torch.Tensor) -> float:
        return float(edge_width(images, edges(truth)).median())  # some filters are soft

    assert width(large, large) < 2
    small = torch.nn.functional.avg_pool2d(large, 4)
    for method in (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS):
        enlarged = resample(small, 512, method)
        assert ((psnr(enlarged, large) > 20) & (psnr(enlarged, large) < 45)).all()
        assert width(enlarged, large) > 2 * width(large, large)
    painted = world.scenes.truth(world.cases("seen", 5), 512)
    assert width(painted, painted) > 2.5


def test_bitmaps_cannot_be_rendered_large(world: BuiltWorld) -> None:
    with pytest.raises(ConfigError, match="too few drawings"):
        world.renders(1, 256)
