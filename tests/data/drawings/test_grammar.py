"""Articles, plurals, mass nouns, skin tones, and labels said as a person would."""

import pytest

from unclip.data.drawings.grammar import split_head, with_article, with_tone
from unclip.data.drawings.speech import natural, spoken, without_false_colour


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cat", "a cat"),
        ("owl", "an owl"),
        ("hourglass", "an hourglass"),
        ("unicorn", "a unicorn"),
        ("ukulele", "a ukulele"),
        ("umbrella", "an umbrella"),
        ("ewe", "a ewe"),
        ("x-ray", "an x-ray"),
        ("SUV", "an SUV"),
        ("one-piece swimsuit", "a one-piece swimsuit"),
        ("one o'clock", "a one o'clock"),
        ("bread", "bread"),
        ("broccoli", "broccoli"),
        ("cooked rice", "cooked rice"),
        ("rice ball", "a rice ball"),
        ("sheaf of rice", "a sheaf of rice"),
        ("glasses", "glasses"),
        ("wine glass", "a wine glass"),
        ("bus", "a bus"),
        ("cactus", "a cactus"),
        ("people hugging", "people hugging"),
        ("person walking", "a person walking"),
        ("person crossing the arms", "a person crossing the arms"),
        ("two hearts", "two hearts"),
        ("1st place medal", "a 1st place medal"),
        ("santa claus", "santa claus"),
        ("statue of liberty", "the statue of liberty"),
        ("heart with arrow", "a heart with an arrow"),
        ("heart with an arrow", "a heart with an arrow"),
        ("cloud with lightning and rain", "a cloud with lightning and rain"),
        ("person in tuxedo", "a person in a tuxedo"),
        ("person in bed", "a person in bed"),
        ("woman and man holding hands", "a woman and man holding hands"),
        ("dumpling", "a dumpling"),
        ("swimming", "swimming"),
        ("3D render", "a 3D render"),
        ("pixel art", "pixel art"),
        ("fork, knife and plate", "fork, knife and plate"),
    ],
)
def test_articles(name: str, said: str) -> None:
    assert with_article(name) == said


@pytest.mark.parametrize(
    ("name", "head", "rest"),
    [
        ("person riding a bicycle", "person", "riding a bicycle"),
        ("woman and man holding hands", "woman and man", "holding hands"),
        ("man with red hair", "man", "with red hair"),
        ("waving hand", "waving hand", ""),
        ("office building", "office building", ""),
    ],
)
def test_heads(name: str, head: str, rest: str) -> None:
    assert split_head(name) == (head, rest)


@pytest.mark.parametrize(
    ("phrase", "tone", "said"),
    [
        ("a cat", None, "a cat"),
        ("a waving hand", ("dark",), "a waving hand with dark skin tone"),
        (
            "a jockey riding a horse",
            ("medium",),
            "a jockey with medium skin tone riding a horse",
        ),
        ("a man with red hair", ("light",), "a man with red hair and light skin tone"),
        (
            "women holding hands",
            ("light", "dark"),
            "women with light and dark skin tones holding hands",
        ),
        ("a sign of the horns", ("dark",), "a sign of the horns with dark skin tone"),
        (
            "a back of a hand pointing left",
            ("light",),
            "a back of a hand with light skin tone pointing left",
        ),
        ("a handshake", ("dark", "dark"), "a handshake with dark skin tone"),
    ],
)
def test_skin_tones(phrase: str, tone: tuple[str, ...] | None, said: str) -> None:
    assert with_tone(phrase, tone) == said


@pytest.mark.parametrize(
    ("label", "group", "hexcode", "concept_name", "name"),
    [
        ("busts in silhouette", "people-body", None, "busts in silhouette", None),
        ("person gesturing OK", "people-body", None, "person gesturing ok", None),
        ("man: red hair", "people-body", None, "man with red hair", "man with red hair"),
        ("woman: bald", "people-body", None, "woman with a bald head", "woman with a bald head"),
        ("horse racing", "people-body", "1F3C7", "jockey riding a horse", "jockey riding a horse"),
        ("man biking", "people-body", "1F6B4", "man riding a bicycle", "man riding a bicycle"),
        ("one-thirty", "travel-places", None, "clock showing one-thirty", None),
        ("woman’s hat", "objects", None, "woman's hat", "woman's hat"),
        ("OK button", "symbols", None, "ok button sign", "ok button sign"),
        ("flag: France", "flags", None, "flag of france", "flag of france"),
        ("flag: United States", "flags", None, "flag of united states", None),
        ("family: man, woman, boy", "people-body", None, "family with man, woman, boy", None),
        ("kiss: woman, man", "people-body", None, "kiss with woman, man", None),
        ("man astronaut", "people-body", None, "man astronaut", "male astronaut"),
        ("sun behind cloud", "travel-places", None, "sun behind cloud", "sun behind a cloud"),
    ],
)
def test_labels(
    label: str, group: str, hexcode: str | None, concept_name: str, name: str | None
) -> None:
    better = {
        "busts in silhouette": "silhouettes of two people",
        "person gesturing OK": "person making an ok sign",
        "one-thirty": "clock showing one-thirty",
        "flag: United States": "flag of the united states",
        "family: man, woman, boy": "family of a man, a woman and a boy",
        "kiss: woman, man": "a woman and a man kissing",
    }
    said = spoken(label, group, hexcode)
    assert said == concept_name
    assert natural(said) == (name or better[label])


def test_a_colour_is_said_only_where_it_is_true() -> None:
    red, blue = (("red", 0.7),), (("blue", 0.6), ("light blue", 0.3))
    assert without_false_colour("red apple", "food-drink", red) == "red apple"
    assert without_false_colour("red apple", "food-drink", blue) == "apple"
    assert without_false_colour("grey heart", "smileys-emotion", (("gray", 0.9),)) == "grey heart"
    assert without_false_colour("orange", "food-drink", blue) == "orange"
    assert without_false_colour("red cross society", "people-body", blue) == "red cross society"
