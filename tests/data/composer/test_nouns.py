"""The words of the world."""

from small_set import drawing

from unclip.data.composer.catalogue import Catalogue
from unclip.data.composer.nouns import FACES, HATS, MOUNTS, PEOPLE, RIDERS, THINGS
from unclip.data.drawings.records import Drawing


def person(number: int, name: str, code: str) -> Drawing:
    return drawing(number, name=name, subgroup="person-role", hexcode=code)


def test_a_code_has_one_word() -> None:
    words: dict[str, set[str]] = {}
    for table in (THINGS, RIDERS, MOUNTS, HATS, FACES):
        for code, noun in table.items():
            words.setdefault(code, set()).add(noun)
    assert {code: found for code, found in words.items() if len(found) > 1} == {}


def test_a_thing_has_one_code() -> None:
    for table in (THINGS, RIDERS, HATS, FACES):
        assert len(set(table.values())) == len(table)


def test_a_role_is_drawn_once_by_a_source_and_as_neither_man_nor_woman_if_it_can_be() -> None:
    things = [drawing(2 * i, name=n, hexcode=c) for i, (c, n) in enumerate(THINGS.items()) if i < 4]
    people = [
        person(100, "man astronaut", "1F468-200D-1F680"),
        person(102, "astronaut", "1F9D1-200D-1F680"),
        person(104, "woman astronaut", "1F469-200D-1F680"),
        person(106, "woman cook", "1F469-200D-1F373"),
        person(108, "woman", "1F469"),
        person(110, "woman in lotus position", "1F9D8"),
    ]
    found = Catalogue([*things, *people]).entries
    riders = {entry.noun: entry.drawing.name for entry in found if "rider" in entry.roles}
    assert riders == {"astronaut": "astronaut", "chef": "woman cook", "woman": "woman"}
    assert set(riders) <= set(PEOPLE.values())
