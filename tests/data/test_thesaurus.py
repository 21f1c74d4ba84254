"""Synonyms: WordNet's format, the choice of a sense, and the table that is kept."""

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from unclip.data.synonyms import synonyms
from unclip.data.thesaurus import (
    Sense,
    WordNet,
    candidates,
    encode,
    main,
    make_table,
    read_wordnet,
)
from unclip.errors import DataError

INDEX = """  1 the licence
dog n 2 1 ~ 2 1 00000010 00000020
puppy n 1 1 @ 1 0 00000030
"""
DATA = """  1 the licence
00000010 05 n 02 dog 0 domestic_dog 0 001 ~ 00000030 n 0000 | a member of the genus
00000020 18 n 01 dog 0 000 | an unattractive girl
00000030 05 n 01 puppy 0 001 @ 00000010 n 0000 | a young dog
"""


@pytest.fixture
def wordnet(tmp_path: Path) -> Path:
    (tmp_path / "index.noun").write_text(INDEX)
    (tmp_path / "data.noun").write_text(DATA)
    return tmp_path


def test_wordnets_files(wordnet: Path) -> None:
    read = read_wordnet(wordnet)
    assert read.senses["dog"] == ("00000010", "00000020")
    assert read.synsets["00000010"] == Sense(words=("dog", "domestic dog"), kinds=("00000030",))
    assert read.synsets["00000030"].kinds == ()  # what lies above is no kind
    words = dict(candidates("dog", read))
    assert words == {"dog": 0.45, "domestic dog": 0.45, "puppy": 0.55}
    assert list(candidates("unknown", read)) == []


@pytest.mark.parametrize("content", ["one two\n", "00000010 05 n zz dog\n"])
def test_wordnet_that_is_none(wordnet: Path, content: str) -> None:
    (wordnet / "data.noun").write_text(content)
    with pytest.raises(DataError, match="holds no WordNet nouns"):
        read_wordnet(wordnet)
    with pytest.raises(DataError, match="holds no WordNet nouns"):
        read_wordnet(wordnet / "absent")


def test_the_encoder_chooses_the_sense() -> None:
    nouns = ["bank", "house"]
    noun_embed = torch.eye(2)
    word_embed = {
        "lender": torch.tensor([0.8, 0.6]),
        "shore": torch.tensor([0.3, 0.1]),  # too far from both
        "hall": torch.tensor([0.6, 0.8]),  # offered for both, nearer to the second
        "odd": torch.tensor([0.5, 0.8]),  # offered for the first alone, nearer to the second
    }
    pairs = {
        "bank": [("lender", 0.5), ("shore", 0.5), ("hall", 0.5), ("odd", 0.5), ("absent", 0.1)],
        "house": [("hall", 0.5)],
    }
    assert make_table(nouns, pairs, word_embed, noun_embed) == {"hall": "house", "lender": "bank"}


def test_encodings_are_means_over_the_tokens(tmp_path: Path) -> None:
    config = BertConfig(
        vocab_size=12,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    BertModel(config).save_pretrained(tmp_path)
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "picture", "of", "dog", "cat"]
    (tmp_path / "vocab.txt").write_text("\n".join(vocab))
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    both = encode(tmp_path, ["dog", "cat dog cat"])
    torch.testing.assert_close(both.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(both[:1], encode(tmp_path, ["dog"]))  # padding changes nothing
    with pytest.raises(DataError, match="holds no sentence encoder"):
        encode(tmp_path / "absent", ["dog"])


def test_the_table_that_is_kept() -> None:
    table = synonyms()
    assert "puppy" in table["dog"]
    assert "spaceman" in table["astronaut"]
    assert all(word not in table for words in table.values() for word in words)
    assert sum(map(len, table.values())) > 300


def test_the_command(wordnet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--encoder", str(wordnet), "--wordnet"]
    assert main([*arguments, str(wordnet / "nowhere")]) == 2
    assert "holds no WordNet nouns" in capsys.readouterr().err
    assert main([*arguments, str(wordnet)]) == 2
    assert "holds no sentence encoder" in capsys.readouterr().err


def test_wordnet_links_that_lead_nowhere() -> None:
    sense = Sense(words=("dog",), kinds=("99999999",))
    wordnet = WordNet(senses={"dog": ("00000010",)}, synsets={"00000010": sense})
    assert dict(candidates("dog", wordnet)) == {"dog": 0.45}
