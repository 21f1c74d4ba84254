"""Ids against open_clip's SimpleTokenizer and transformers' CLIPTokenizer on 10,000 odd strings."""

import random
import subprocess
import sys
import unicodedata
from functools import cache
from typing import Any

import pytest
from open_clip.tokenizer import SimpleTokenizer
from transformers import CLIPTokenizer

from unclip.clip.tokenize import Tokenizer, open_clip_merges, parse_merges
from unclip.errors import CheckpointError, ConfigError, InputError

NUM_STRINGS = 10_000
ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz",
    "ABC XYZ",
    "0123456789",
    " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u2009\u2028\u3000",
    "\x00\x01\x07\x08\x1b\x7f\x80\x9f\u00ad\u200b\u200d\u200e\u2066\ufeff\ufffc\ufffd",
    "'\"`´‘’“”«»",
    "!?.,;:-_/\\()[]{}@#$%^*+=~|…–—•",
    "&<>#;x",
    "àéüñçßøåæœĲŉſİıŁÆŒǅΣσςΑΆÅ",
    "e\u0301a\u0308n\u0303\u0323\u0307o\u031b\u0328\u1100\u1161\u11a8",
    "ﬁﬂﬀ㎏½²①ⅧＡｂ３！ﾊﾟ",
    "你好世界漢字日本語ひらがなカタカナ한국어",
    "אבגدجםمحनमस्तेไทยსաγдыЖ",
    "٣४五Ⅻ௧㊿𝟘",
    "😀🦄🇩🇪🏳️‍🌈👩‍👩‍👧‍👦❤️👍🏽",
]
PIECES = [
    "a photo of a cat",
    "don't",
    "WE'LL",
    "I'Ve",
    "'S",
    "'ſ",
    "&amp;",
    "&amp;amp;lt;",
    "&lt;b&gt;",
    "&#39;",
    "&#x1F600;",
    "&eacute",
    "&EACUTE;",
    "&#xD800;",
    "&#28;",
    "&notanentity;",
    "&",
    "<start_of_text>",
    "<END_OF_TEXT>",
    "<ſtart_of_text>",
    "<|startoftext|>",
    "<|endoftext|>",
    "<|EndOfText|>!!",
    "Ã©",
    "â€™",
    "schÃ¶n",
    "\x1b[31mred\x1b[0m",
    "\u0345",
    "a\u0345\u089b",
    "\r\n",
    "ΟΔΟΣ",
]


@cache
def merges() -> list[tuple[str, str]]:
    return open_clip_merges()


def odd_strings() -> list[str]:
    rng = random.Random(0)
    strings = ["", " ", "\n\t", "a" * 300, "é" * 100, "!" * 200, "1234567890" * 9]
    while len(strings) < NUM_STRINGS:
        strings.append("".join(odd_piece(rng) for _ in range(rng.randrange(1, 12))))
    return strings


def odd_piece(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.25:
        return rng.choice(PIECES)
    if kind < 0.35:
        return " " * rng.randrange(1, 4)
    if kind < 0.5:  # any character at all, assigned or not, but no lone surrogate
        code = rng.randrange(rng.choice([0x250, 0x3000, 0x10000, 0x110000]))
        return "" if 0xD800 <= code < 0xE000 else chr(code)
    return "".join(rng.choices(rng.choice(ALPHABETS), k=rng.randrange(1, 7)))


def hugging_face_tokenizer() -> CLIPTokenizer:
    vocab = dict(SimpleTokenizer().encoder)
    vocab["<|startoftext|>"] = vocab.pop("<start_of_text>")
    vocab["<|endoftext|>"] = vocab.pop("<end_of_text>")
    # Pairs are what it takes and how its own loader calls it; its annotation says text.
    pairs: Any = merges()
    return CLIPTokenizer(vocab=vocab, merges=pairs)


def differences(ours: list[list[int]], theirs: list[list[int]], strings: list[str]) -> list[str]:
    return [
        ascii(text) for a, b, text in zip(ours, theirs, strings, strict=True) if list(a) != list(b)
    ]


def test_ids_equal_open_clips_on_odd_strings():
    tokenizer, theirs, strings = Tokenizer(merges(), 49408, 77), SimpleTokenizer(), odd_strings()
    assert len(set(strings)) > 0.95 * NUM_STRINGS
    ours = [tokenizer.encode(text) for text in strings]
    assert differences(ours, [theirs.encode(text) for text in strings], strings) == []


def test_ids_equal_hugging_faces_on_odd_strings():
    tokenizer, strings = Tokenizer(merges(), 49408, 77, "hugging_face"), odd_strings()
    theirs = hugging_face_tokenizer()(strings)["input_ids"]
    ours = [[49406, *tokenizer.encode(text), 49407] for text in strings]
    assert differences(ours, theirs, strings) == []


def test_plain_english_is_read_alike_by_both():
    texts = [
        "An astronaut riding a horse, pencil drawing",
        "it's 7 o'clock! (don't panic)",
        "a & b",
    ]
    ours = [Tokenizer(merges(), 49408, 77, clean) for clean in ("open_clip", "hugging_face")]
    assert [ours[0].encode(text) for text in texts] == [ours[1].encode(text) for text in texts]
    assert ours[0].encode("a photo of a cat") == [320, 1125, 539, 320, 2368]


@pytest.mark.parametrize("length", [77, 5, 2])
def test_padding_cutting_and_mask_equal_the_libraries(length: int):
    texts = ["", "a cat", "a very long prompt " * 40]
    ids, mask = Tokenizer(merges(), 49408, length)(texts)
    assert ids.tolist() == SimpleTokenizer(context_length=length)(texts).tolist()
    theirs = hugging_face_tokenizer()(
        texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    )
    assert mask.tolist() == theirs["attention_mask"].bool().tolist()
    assert ids[mask].tolist() == theirs["input_ids"][mask].tolist()
    assert (ids.argmax(dim=1) + 1).tolist() == mask.sum(dim=1).tolist()


@pytest.mark.parametrize("vocab_size", [514, 600, 4096])
def test_a_small_vocabulary_spells_the_same_bytes(vocab_size: int):
    small, full = Tokenizer(merges(), vocab_size, 77), Tokenizer(merges(), 49408, 77)
    for text in ("a photo of a red astronaut, riding!", "naïve 日本 🦄"):
        ids = small.encode(text)
        assert max(ids) < small.start_id == vocab_size - 2
        assert spell(small, ids) == spell(full, full.encode(text))
    assert small([""])[0][0, :3].tolist() == [vocab_size - 2, vocab_size - 1, 0]


def spell(tokenizer: Tokenizer, ids: list[int]) -> str:
    words = {number: token for token, number in tokenizer._ids.items()}
    return "".join(words[number] for number in ids)


@pytest.mark.parametrize("clean", ["open_clip", "hugging_face"])
def test_lone_surrogates_and_every_character_are_read(clean):
    tokenizer = Tokenizer(merges(), 514, 8, clean)
    assert tokenizer.encode("\udce9\ud83d") == tokenizer.encode("\ufffd\ufffd")
    for start in range(0, 0x110000, 0x1000):
        codes = range(start, start + 0x1000, 7)
        tokenizer.encode("".join(map(chr, codes)), limit=6)


def test_merges_survive_a_file():
    tokenizer = Tokenizer(merges(), 700, 8)
    again = parse_merges(tokenizer.merges_file().decode())
    assert len(again) == 700 - 514
    assert Tokenizer(again, 700, 8).encode("A photo of a café") == tokenizer.encode(
        "A photo of a café"
    )


def test_wrong_use_is_told():
    with pytest.raises(ConfigError, match=r"text\.vocab_size is 50000, expected 514 to 49408"):
        Tokenizer(merges(), 50_000, 77)
    with pytest.raises(ConfigError, match=r"text\.vocab_size is 100"):
        Tokenizer(merges(), 100, 77)
    with pytest.raises(CheckpointError, match=r"merges.txt has the line 'a b c'"):
        parse_merges("#version: 0.2\na b\na b c\n")
    with pytest.raises(InputError, match=r"expected a list: write \[prompt\]"):
        Tokenizer(merges(), 514, 8)("a cat")


def test_words_are_cached_within_bounds(monkeypatch):
    monkeypatch.setattr("unclip.clip.tokenize.CACHED_WORDS", 10)
    tokenizer = Tokenizer(merges(), 4096, 77)
    for number in range(100):
        tokenizer.encode(f"word{number} cat")
    assert len(tokenizer._cache) <= 10


def test_ascii_and_accents_import_no_tokenizer_library():
    code = (
        "import sys; from unclip.clip.tokenize import Tokenizer, open_clip_merges\n"
        "merges = open_clip_merges()\n"
        "heavy = {'open_clip', 'transformers', 'tokenizers', 'regex', 'ftfy'}\n"
        'Tokenizer(merges, 4096, 24)(["it\'s a cat & dog, 100%"])\n'
        "Tokenizer(merges, 4096, 24, 'hugging_face')(['café 日本'])\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "Tokenizer(merges, 4096, 24)(['café'])\n"
        "assert heavy & set(sys.modules) == {'ftfy'}, heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_odd_strings_reach_characters_this_python_does_not_know():
    text = "".join(odd_strings())
    assert any(unicodedata.category(character) == "Cn" for character in text)
