"""CLIP's vocabulary as the two files of a tokenizer folder."""

import json
from pathlib import Path

from unclip.clip.tokenize import NUM_BYTE_TOKENS, Tokenizer, open_clip_merges

FIXED = NUM_BYTE_TOKENS + 2
SPECIAL = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}


def write_tokenizer(folder: Path, vocabulary: int, context: int) -> None:
    """Writes a tokenizer of the first merges of CLIP's list; padding has the id 0, as Karlo's."""
    merges = open_clip_merges() if vocabulary > FIXED else []
    tokenizer = Tokenizer(merges, vocabulary, context)
    alphabet = byte_tokens()
    tokens = [*alphabet, *(token + "</w>" for token in alphabet)]
    tokens += [first + second for first, second in tokenizer.merges]
    ids = {token: number for number, token in enumerate([*tokens, *SPECIAL.values()])}
    settings = {
        **SPECIAL,
        "unk_token": SPECIAL["eos_token"],
        "pad_token": alphabet[0],
        "model_max_length": context,
        "do_lower_case": True,
        "tokenizer_class": "CLIPTokenizer",
    }
    special = {key: settings[key] for key in (*SPECIAL, "unk_token", "pad_token")}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_bytes(b"#version: 0.2\n" + tokenizer.merges_file())
    for name, content in (("tokenizer_config", settings), ("special_tokens_map", special)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2), encoding="utf-8")


def byte_tokens() -> list[str]:
    """The 256 characters that stand for bytes, in CLIP's order: the printable ones first."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in printable] + [chr(256 + place) for place in range(68)]
