"""CLIP's byte-level BPE tokenizer (Radford et al. 2021), in the standard library alone.

A vocabulary has 256 byte symbols, the same 256 that end a word, one entry a merge, start and end. BPE
is closed under prefixes: with the first merges only, it is a smaller vocabulary of the same kind.
"""

import gzip
import html
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from unclip.errors import BackendError, ConfigError

FIXED_ENTRIES = 512 + 2
WORD_END = "</w>"
SPECIAL = ("<|startoftext|>", "<|endoftext|>", "<start_of_text>", "<end_of_text>")
CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
BPE_FILE = "bpe_simple_vocab_16e6.txt.gz"
NUM_MERGES = 49152 - 256 - 2
"""Merges of CLIP's own vocabulary; the file holds more."""


def openai_merges() -> list[tuple[str, str]]:
    """Reads CLIP's own merges from the file that open_clip ships, without importing it.

    Raises:
        BackendError: open_clip is not installed.
    """
    spec = find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise BackendError("CLIP's vocabulary comes with open_clip: pip install open_clip_torch")
    path = Path(spec.submodule_search_locations[0]) / BPE_FILE
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    return parse_merges("\n".join(lines[1 : NUM_MERGES + 1]))


def parse_merges(text: str) -> list[tuple[str, str]]:
    """Reads one merge a line, two symbols apart by a space."""
    merges = []
    for number, line in enumerate(text.splitlines(), 1):
        first, _, second = line.partition(" ")
        if not first or not second:
            raise ConfigError(f"merges line {number} is {line!r}, expected two symbols")
        merges.append((first, second))
    return merges


class Tokenizer:
    """Turns prompts into ids, padded with 0 to the context length."""

    def __init__(
        self, merges: Sequence[tuple[str, str]], vocab_size: int, context_length: int
    ) -> None:
        needed = vocab_size - FIXED_ENTRIES
        if not 0 <= needed <= len(merges):
            raise ConfigError(
                f"tokenizer: vocab_size {vocab_size} is not between {FIXED_ENTRIES} and "
                f"{FIXED_ENTRIES + len(merges)}, which {len(merges)} merges allow"
            )
        self.merges = list(merges[:needed])
        self.vocab_size, self.context_length = vocab_size, context_length
        self.byte_symbols = byte_symbols()
        symbols = list(self.byte_symbols.values())
        symbols += [symbol + WORD_END for symbol in symbols]
        symbols += [first + second for first, second in self.merges]
        self.ids = {symbol: number for number, symbol in enumerate(symbols)}
        self.ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self.start, self.end = vocab_size - 2, vocab_size - 1
        self.encode_word = lru_cache(maxsize=65536)(self._encode_word)

    def __call__(
        self, prompts: Sequence[str]
    ) -> tuple[Int[Tensor, "batch tokens"], Bool[Tensor, "batch tokens"]]:
        """Returns ids and a mask that is True from the start token to the end token.

        What is too long is cut and ends with the end token.
        """
        ids = torch.zeros(len(prompts), self.context_length, dtype=torch.long)
        mask = torch.zeros(len(prompts), self.context_length, dtype=torch.bool)
        for row, prompt in enumerate(prompts):
            tokens = [self.start, *self.encode(prompt)][: self.context_length - 1]
            tokens.append(self.end)
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = True
        return ids, mask

    def encode(self, prompt: str) -> list[int]:
        """Returns a prompt's ids, without start and end."""
        return [token for word in split_words(clean(prompt)) for token in self.encode_word(word)]

    def merges_text(self) -> str:
        """Returns the merges as `parse_merges` reads them."""
        return "".join(f"{first} {second}\n" for first, second in self.merges)

    def _encode_word(self, word: str) -> tuple[int, ...]:
        if word in SPECIAL:
            return (self.start if "start" in word else self.end,)
        symbols = [self.byte_symbols[byte] for byte in word.encode("utf-8")]
        symbols[-1] += WORD_END
        while len(symbols) > 1:
            pairs = zip(symbols, symbols[1:], strict=False)
            rank, best = min((self.ranks.get(pair, len(self.ranks)), pair) for pair in pairs)
            if rank == len(self.ranks):
                break
            symbols = _merge(symbols, best)
        return tuple(self.ids[symbol] for symbol in symbols)


def _merge(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    """Joins every occurrence of a pair, from the left."""
    merged, at = [], 0
    while at < len(symbols):
        if tuple(symbols[at : at + 2]) == pair:
            merged.append(pair[0] + pair[1])
            at += 2
        else:
            merged.append(symbols[at])
            at += 1
    return merged


@lru_cache
def byte_symbols() -> dict[int, str]:
    """Gives every byte a printable symbol: itself where it prints, else one from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    symbols = {byte: chr(byte) for byte in printable}
    others = (byte for byte in range(256) if byte not in symbols)
    return symbols | {byte: chr(256 + number) for number, byte in enumerate(others)}


def clean(text: str) -> str:
    """Mends broken encodings, unescapes HTML twice, joins white space, lowers the case (open_clip's rules)."""
    if not text.isascii() or "\x1b" in text or "&" in text or not text.isprintable():
        # ftfy changes nothing in plain ASCII and costs a tenth of a second to import.
        import ftfy

        text = ftfy.fix_text(text)
    text = html.unescape(html.unescape(text)).strip()
    return " ".join(text.split()).strip().lower()


def split_words(text: str) -> Iterator[str]:
    """Splits into special tokens, contractions, runs of letters, single numerals, and runs of the rest."""
    at = 0
    while at < len(text):
        word = _fixed_word(text, at)
        if word is None:
            kind = _kind(text[at])
            end = at + 1
            if kind != "number":
                while end < len(text) and _kind(text[end]) == kind:
                    # A run of the rest also stops nowhere else; letters stop before a contraction
                    # only because an apostrophe is no letter.
                    end += 1
            word = text[at:end]
        at += len(word)
        if not word.isspace():
            yield word


def _fixed_word(text: str, at: int) -> str | None:
    for word in (*SPECIAL, *CONTRACTIONS):
        if text.startswith(word, at):
            return word
    return None


def _kind(character: str) -> str:
    if character.isspace():
        return "space"
    category = unicodedata.category(character)
    return {"L": "letter", "N": "number"}.get(category[0], "rest")
