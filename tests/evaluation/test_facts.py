from dataclasses import replace

import pytest

from unclip.evaluation.facts import (
    ASTRONAUT,
    ASTRONAUT_PROMPT,
    Facts,
    Kind,
    Shown,
    astronaut_swaps,
    question,
    wordings,
)

RED, BLUE = Shown(noun="apple", colour="red"), Shown(noun="car", colour="blue")


def test_questions_tell_every_kind_apart() -> None:
    kinds: list[Kind] = ["pair", "above", "row", "size", "ride", "wear"]
    asked = [question(Facts(kind=kind, things=(RED, BLUE))) for kind in kinds]
    asked += [question(Facts(kind=kind, things=(BLUE, RED))) for kind in kinds]
    asked += [question(Facts(kind="count", things=(RED,), count=n)) for n in (2, 3, 4, 5, 6)]
    asked += [question(Facts(kind="single", things=(RED,)))]
    assert len(set(asked)) == 2 * 6 + 5 + 1


def test_a_question_holds_all_that_was_said() -> None:
    facts = Facts(
        kind="single", things=(RED,), style="pixel art", ground="blue", place="in the snow"
    )
    said = question(facts)
    for word in ("red apple", "pixel art", "ground: blue", "in the snow"):
        assert word in said
    assert question(facts) == wordings(facts)[0]
    assert wordings(facts)[-1] == "apple"
    assert len(set(wordings(facts))) == len(wordings(facts))


def test_questions_are_no_prompts() -> None:
    """The judge's words are not the templates that a model's own CLIP is trained on."""
    said = question(ASTRONAUT)
    assert said != ASTRONAUT_PROMPT
    assert "riding" not in said
    assert not said.startswith(("a ", "an "))


def test_twenty_swaps_of_the_astronaut() -> None:
    swaps = astronaut_swaps()
    asked = {question(facts) for facts in swaps}
    assert len(swaps) == len(asked) == 20
    assert question(ASTRONAUT) not in asked
    changed = [
        sum(a != b for a, b in zip(_parts(f), _parts(ASTRONAUT), strict=True)) for f in swaps
    ]
    assert sorted(changed) == [1] * 19 + [2]


def _parts(facts: Facts) -> tuple[str, str, str | None]:
    rider, mount = facts.things
    return rider.noun, mount.noun, facts.style


def test_a_count_needs_its_number() -> None:
    facts = Facts(kind="count", things=(RED,), count=3)
    assert "three times" in question(facts)
    with pytest.raises(AssertionError, match="a count has a number"):
        question(replace(facts, count=None))
