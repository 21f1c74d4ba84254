"""Vocabularies other than CLIP's own."""

from typing import Any

import pytest

from unclip.clip.tokenize import Tokenizer
from unclip.clip.vocabulary import END, START, Vocabulary
from unclip.errors import CheckpointError, ConfigError

IDS = {"a": 0, "b</w>": 1, "ab</w>": 2, "<unk>": 3, START: 4, END: 7}
MERGES = [("a", "b</w>")]


def test_words_are_spelt_by_it() -> None:
    tokenizer = Tokenizer(MERGES, 8, 6, "hugging_face", Vocabulary(IDS, "<unk>"))
    ids, mask = tokenizer(["ab a", "", "ab ab ab ab ab ab"])
    assert ids.tolist() == [[4, 2, 3, 7, 0, 0], [4, 7, 0, 0, 0, 0], [4, 2, 2, 2, 2, 7]]
    assert mask.sum(dim=1).tolist() == [4, 2, 6]
    assert tokenizer.ids() == IDS


def test_round_trip() -> None:
    vocabulary = Vocabulary(IDS, "<unk>")
    assert Vocabulary.from_bytes(vocabulary.to_bytes()) == vocabulary
    assert Tokenizer(MERGES, 8, 6, "hugging_face", vocabulary).vocabulary_file() is not None


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (IDS | {"c": "x"}, "gives c no id"),
        (IDS | {"c": -1}, "gives c no id"),
        (IDS | {"c": True}, "gives c no id"),
        (IDS | {"c": 2}, "two tokens one id"),
        (IDS | {"c": 9}, "has not the largest id"),
        ({"a": 0, END: 1}, r"no token <\|startoftext\|>"),
        ({START: 0, END: 1}, "no token <unk>"),
    ],
)
def test_what_is_none(ids: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        Vocabulary(ids, "<unk>")


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"ids": 1, "unknown": "a"}', b'{"ids": {}}'])
def test_a_broken_file(content: bytes) -> None:
    with pytest.raises(CheckpointError, match="no vocabulary"):
        Vocabulary.from_bytes(content)


def test_it_fits_its_merges_and_its_tower() -> None:
    with pytest.raises(ConfigError, match="lacks bb"):
        Tokenizer([("b", "b")], 8, 6, "hugging_face", Vocabulary(IDS, "<unk>"))
    with pytest.raises(ConfigError, match="has ids to 7"):
        Tokenizer(MERGES, 7, 6, "hugging_face", Vocabulary(IDS, "<unk>"))
