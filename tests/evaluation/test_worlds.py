"""The world of the bundled illustrations: its cases state what its pictures show."""

import pytest
import torch

from unclip.errors import DataError
from unclip.evaluation.bundled import BundledWorld
from unclip.evaluation.counting import count_things
from unclip.evaluation.facts import ASTRONAUT, ASTRONAUT_PROMPT, question
from unclip.evaluation.figures import shows_colour, shows_count, shows_no_colour
from unclip.evaluation.suite import GROUPS, Group

WORLD = BundledWorld()


def test_which_groups_it_knows() -> None:
    known = [group for group in GROUPS if WORLD.cases(group, 2)]
    assert known == ["seen", "colour", "grey", "count", "sides", "astronaut", "diversity"]
    assert WORLD.num_reference == 0
    with pytest.raises(DataError, match="give --set"):
        WORLD.reference(2, 64)


@pytest.mark.parametrize("group", ["seen", "colour", "count", "sides", "astronaut", "diversity"])
def test_cases_are_fixed(group: Group) -> None:
    assert WORLD.cases(group, 6) == WORLD.cases(group, 6)
    assert WORLD.cases(group, 6)[:3] == WORLD.cases(group, 3)
    cases = WORLD.cases(group, 4)
    first, again = WORLD.truth(cases, 64), WORLD.truth(cases, 64)
    other = WORLD.truth(cases, 64, take=1)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (4, 3, 64, 64)
    assert float(first.abs().max()) <= 1


def test_pictures_show_what_is_stated() -> None:
    cases = WORLD.cases("colour", 24)
    assert shows_colour(WORLD.truth(cases, 64), cases).float().mean() > 0.9
    cases = WORLD.cases("grey", 12)
    assert shows_no_colour(WORLD.truth(cases, 64), cases).all()
    cases = WORLD.cases("count", 24)
    assert shows_count(WORLD.truth(cases, 64), cases).all()
    assert {case.facts.count for case in cases} == {2, 3, 4}
    assert count_things(WORLD.truth(WORLD.cases("sides", 12), 64)).tolist() == [2] * 12


def test_prompts_and_facts_agree() -> None:
    for group in GROUPS:
        for case in WORLD.cases(group, 30):
            for thing in case.facts.things:
                assert thing.noun.split()[0].rstrip("y") in case.prompt
                assert thing.colour is None or thing.colour in case.prompt
            assert (case.facts.style or "") in case.prompt
            assert (case.facts.ground or "") in case.prompt


def test_left_stands_left_however_it_is_said() -> None:
    cases = WORLD.cases("sides", 8)
    for case in cases:
        left, right = (case.prompt.index(thing.words) for thing in case.facts.things)
        assert (left < right) == ("to the left of" in case.prompt)
    said = {"left" if "to the left of" in case.prompt else "right" for case in cases}
    assert said == {"left", "right"}


def test_the_astronaut_is_asked_as_a_user_asks() -> None:
    cases = WORLD.cases("astronaut", 8)
    assert {case.prompt for case in cases} == {ASTRONAUT_PROMPT}
    assert {question(case.facts) for case in cases} == {question(ASTRONAUT)}


def test_renders_are_true_at_any_size() -> None:
    large = WORLD.renders(2, 256)
    small = WORLD.truth(WORLD.cases("seen", 2), 64)
    assert large.shape == (2, 3, 256, 256)
    shrunk = torch.nn.functional.avg_pool2d(large, 4)
    assert (shrunk - small).abs().mean() < 0.02
