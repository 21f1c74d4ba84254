"""A vocabulary that is learned from captions, and read back by the tokenizer."""

from pathlib import Path

import pytest
from PIL import Image

from unclip.clip.tokenize import NUM_BYTE_TOKENS, NUM_SPECIAL_TOKENS, Tokenizer, load_merges
from unclip.errors import CheckpointError, ConfigError, DataError
from unclip.training.vocabulary import learn_merges, main, write_vocabulary

TEXTS = ["a red apple", "a red car", "an apple and a car", "a café", "a café", "a xylophone"] * 2
FIXED = NUM_BYTE_TOKENS + NUM_SPECIAL_TOKENS


def tokenizer(merges: list[tuple[str, str]]) -> Tokenizer:
    return Tokenizer(merges, FIXED + len(merges), context_length=16)


def test_every_word_becomes_one_token() -> None:
    merges = learn_merges(TEXTS, 1000)
    encode = tokenizer(merges).encode
    for word in ("red", "apple", "car", "café", "xylophone", "Apple"):
        assert len(encode(word)) == 1, word
    assert len(encode("zebra")) > 1  # bytes spell what was never seen
    assert encode("a red apple") == [*encode("a"), *encode("red"), *encode("apple")]


def test_the_most_frequent_pairs_come_first() -> None:
    merges = learn_merges(["aab aab aab aab", "cd cd"], 1000)
    assert merges[0] in (("a", "b</w>"), ("a", "a"))
    assert merges.index(("c", "d</w>")) == 2
    assert learn_merges(["aab aab aab aab", "cd cd"], 2) == merges[:2]


def test_a_pair_seen_once_is_no_merge() -> None:
    assert learn_merges(["ab cd ef"], 100) == []
    with pytest.raises(DataError, match="nothing that can be merged"):
        write_vocabulary(["ab cd ef"], Path("never"), 100)
    with pytest.raises(ConfigError, match="--merges 0"):
        write_vocabulary(["ab ab"], Path("never"), 0)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_text("a red apple")
    (tmp_path / "more").write_text("a puppy\na puppy\n")
    out = tmp_path / "made" / "merges.txt"
    command = ["--images", str(tmp_path), "--out", str(out)]
    assert main([*command, "--texts", str(tmp_path / "more")]) == 0
    merges = load_merges(out)
    expected = f"{len(merges)} merges in {out}: model.text.vocab_size {FIXED + len(merges)}\n"
    assert capsys.readouterr().out == expected
    assert [len(tokenizer(merges).encode(word)) for word in ("apple", "puppy")] == [1, 1]

    assert main([*command, "--texts", str(tmp_path / "absent")]) == 2
    assert "cannot read --texts" in capsys.readouterr().err


def test_merges_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot read the merges"):
        load_merges(tmp_path / "absent")
    (tmp_path / "bad").write_text("three are many\n")
    with pytest.raises(CheckpointError, match="expected two tokens"):
        load_merges(tmp_path / "bad")


def test_captions_of_scenes(tiny_set: Path, tmp_path: Path) -> None:
    out = tmp_path / "merges.txt"
    arguments = ["--images", str(tiny_set), "--merges", "400", "--out", str(out)]
    assert main([*arguments, "--scenes", "60"]) == 0
    assert "background</w>" in learned(out)
    assert main(arguments) == 0
    assert "background</w>" not in learned(out)


def learned(merges: Path) -> set[str]:
    return {line.replace(" ", "") for line in merges.read_text(encoding="utf-8").splitlines()}
