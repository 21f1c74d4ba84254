"""The table of the set: what is written is read back; what is no set is one line."""

import dataclasses
from pathlib import Path

import pytest

from unclip.data.drawings.records import TABLE, Drawing, read_set, read_table, table_text
from unclip.errors import DataError

CAT = Drawing(
    id="noto__cat",
    file_name="images/noto/noto__cat.webp",
    svg="svg/noto/noto__cat.svg",
    source="noto",
    name="cat",
    tone=None,
    keywords=("pet", "whiskers"),
    group="animals-nature",
    subgroup="animal-mammal",
    hexcode="1F408",
    concept="cat",
    styles=("cartoon emoji",),
    colors=(("orange", 0.7), ("white", 0.2)),
    coverage=0.4,
    captions=("a cat, cartoon emoji", "cat"),
    licence="Apache-2.0",
    attribution="Noto Emoji, Google",
    tier="A",
    weight=1.0,
    split="train",
)
JUDO = dataclasses.replace(CAT, id="x", tone=("light", "dark"), svg=None, hexcode=None, tier="C")
HELD = dataclasses.replace(CAT, id="y", split="test", tier="B")


def test_round_trip_and_selection(tmp_path: Path) -> None:
    (tmp_path / TABLE).write_text(table_text([CAT, JUDO, HELD]))
    assert read_table(tmp_path) == [CAT, JUDO, HELD]
    assert read_set(tmp_path) == [CAT]
    assert read_set(tmp_path, splits=("train", "test")) == [CAT, HELD]
    assert read_set(tmp_path, tiers="C", splits=("train", "val")) == [JUDO]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "no finished set"),
        ("{oops\n", "line 1 is damaged"),
        ("[]\n", "line 1 is damaged"),
        ('{"id": "a"}\n', "line 1 is no drawing of this version"),
        (b"\xff", "cannot read"),
        ("", "no drawings of tiers AB in train"),
    ],
)
def test_no_set(tmp_path: Path, text: str | bytes | None, says: str) -> None:
    if text is not None:
        (tmp_path / TABLE).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(DataError, match=says) as caught:
        read_set(tmp_path)
    assert "\n" not in str(caught.value)


def test_unknown_tiers_and_splits(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no tier or split 'D'"):
        read_set(tmp_path, tiers="AD")
    with pytest.raises(DataError, match="no tier or split 'heldout'"):
        read_set(tmp_path, splits=("heldout",))
