"""CLIP's tokenizer: byte-level byte-pair encoding (Sennrich et al. 2016) of lower-case words.

Ids are those of open_clip's SimpleTokenizer and of Hugging Face's CLIPTokenizer: 256 bytes, 256
bytes that end a word, the merges in the order they were learned, start of text, end of text. A
merge builds on earlier ones alone, so a smaller vocabulary simply takes fewer.
"""

import gzip
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from unclip.clip.config import Clean
from unclip.clip.vocabulary import END, START, Vocabulary
from unclip.clip.words import words
from unclip.errors import BackendError, CheckpointError, ConfigError, InputError, shown

NUM_BYTE_TOKENS = 512
NUM_SPECIAL_TOKENS = 2
OPEN_CLIP_MERGES = 49408 - NUM_BYTE_TOKENS - NUM_SPECIAL_TOKENS
WORD_END = "</w>"
CACHED_WORDS = 2**16


class Tokenizer:
    """Prompts to padded ids."""

    def __init__(
        self,
        merges: Sequence[tuple[str, str]],
        vocab_size: int,
        context_length: int,
        clean: Clean = "open_clip",
        vocabulary: Vocabulary | None = None,
    ) -> None:
        """Takes the first merges that fit into `vocab_size`; of another `vocabulary`, all.

        Raises:
            ConfigError: the vocabulary is smaller than its bytes or larger than its merges; or a
                `vocabulary` has ids beyond it, or lacks what a merge makes.
        """
        self.vocab_size, self.context_length = vocab_size, context_length
        self.clean: Clean = clean
        self.vocabulary = vocabulary
        self._cache: dict[str, tuple[int, ...]] = {}
        if vocabulary is None:
            self._take_merges(merges, vocab_size)
        else:
            self._take_vocabulary(merges, vocabulary)
        self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}

    def _take_merges(self, merges: Sequence[tuple[str, str]], vocab_size: int) -> None:
        fixed = NUM_BYTE_TOKENS + NUM_SPECIAL_TOKENS
        if not fixed <= vocab_size <= fixed + len(merges):
            raise ConfigError(
                f"text.vocab_size is {vocab_size}, expected {fixed} to {fixed + len(merges)}: "
                f"512 bytes, 2 special tokens and at most {len(merges)} merges"
            )
        self.merges = tuple(merges[: vocab_size - fixed])
        alphabet = list(_byte_characters().values())
        tokens = alphabet + [character + WORD_END for character in alphabet]
        tokens += [first + second for first, second in self.merges]
        self._ids: dict[str, int] = {token: number for number, token in enumerate(tokens)}
        self.start_id, self.end_id = vocab_size - 2, vocab_size - 1
        self._unknown_id = self.end_id  # of nothing: the bytes are all there

    def _take_vocabulary(self, merges: Sequence[tuple[str, str]], vocabulary: Vocabulary) -> None:
        self.merges = tuple(merges)
        self._ids = dict(vocabulary.ids)
        lacking = [first + second for first, second in merges if first + second not in self._ids]
        if lacking:
            raise ConfigError(f"the vocabulary lacks {shown(lacking[0])}, which its merges make")
        self.start_id, self.end_id = self._ids[START], self._ids[END]
        self._unknown_id = self._ids[vocabulary.unknown]
        if self.end_id >= self.vocab_size:
            raise ConfigError(
                f"the vocabulary has ids to {self.end_id}, but text.vocab_size is {self.vocab_size}"
            )

    def __call__(
        self, prompts: Sequence[str]
    ) -> tuple[Int[Tensor, "batch tokens"], Bool[Tensor, "batch tokens"]]:
        """Returns ids, padded with 0, and a mask that is True from start to end of text.

        A prompt that is too long is cut, with end of text last.

        Raises:
            InputError: it was given one prompt instead of a list.
        """
        if isinstance(prompts, str):
            raise InputError(f"got the text {prompts[:40]!r}, expected a list: write [prompt]")
        ids = torch.zeros(len(prompts), self.context_length, dtype=torch.long)
        mask = torch.zeros(len(prompts), self.context_length, dtype=torch.bool)
        for row, prompt in enumerate(prompts):
            tokens = self.encode(prompt, self.context_length - 2)
            tokens = [self.start_id, *tokens, self.end_id]
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = True
        return ids, mask

    def encode(self, prompt: str, limit: int | None = None) -> list[int]:
        """Returns a prompt's ids without start and end, at most `limit`."""
        tokens: list[int] = []
        for word in words(prompt, self.clean):
            if limit is not None and len(tokens) >= limit:
                break
            if isinstance(word, int):
                tokens.append((self.start_id, self.end_id)[word])
            else:
                tokens += self._encode_word(word)
        return tokens[:limit]

    def merges_file(self) -> bytes:
        """Returns the merges in the format of `merges.txt`."""
        return "".join(f"{first} {second}\n" for first, second in self.merges).encode("utf-8")

    def ids(self) -> dict[str, int]:
        """Returns all tokens and their ids, start and end of text included."""
        return {**self._ids, START: self.start_id, END: self.end_id}

    def vocabulary_file(self) -> bytes | None:
        """Returns the vocabulary where it is another than CLIP's own."""
        return None if self.vocabulary is None else self.vocabulary.to_bytes()

    def _encode_word(self, word: str) -> tuple[int, ...]:
        found = self._cache.get(word)
        if found is None:
            parts = list(spell(word))
            parts[-1] += WORD_END
            merged = self._merge(parts)
            found = tuple(self._ids.get(part, self._unknown_id) for part in merged)
            if len(self._cache) >= CACHED_WORDS:
                self._cache.clear()
            self._cache[word] = found
        return found

    def _merge(self, parts: list[str]) -> list[str]:
        """Joins the pair that was learned first, everywhere, until no pair is known."""
        never = len(self._ranks)
        while len(parts) > 1:
            pairs = set(pairwise(parts))
            best = min(pairs, key=lambda pair: self._ranks.get(pair, never))
            if best not in self._ranks:
                break
            merged, i = [], 0
            while i < len(parts):
                if i + 1 < len(parts) and (parts[i], parts[i + 1]) == best:
                    merged.append(parts[i] + parts[i + 1])
                    i += 2
                else:
                    merged.append(parts[i])
                    i += 1
            parts = merged
        return parts


def parse_merges(text: str) -> list[tuple[str, str]]:
    """Reads `merges.txt`: two tokens a line, below a version line in Hugging Face's own.

    Raises:
        CheckpointError: a line does not hold two tokens.
    """
    lines = text.split("\n")
    if "#version" in lines[0]:
        lines = lines[1:]
    merges = []
    for line in filter(None, lines):
        pair = line.split(" ")
        if len(pair) != 2:
            raise CheckpointError(f"merges.txt has the line {line[:40]!r}, expected two tokens")
        merges.append((pair[0], pair[1]))
    return merges


def load_merges(path: str | Path) -> list[tuple[str, str]]:
    """Reads a file of merges.

    Raises:
        CheckpointError: it cannot be read, or is no such file.
    """
    try:
        return parse_merges(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read the merges {path}: {error}") from error


def open_clip_merges() -> list[tuple[str, str]]:
    """Reads CLIP's own merges from the installed open_clip, without importing it.

    Raises:
        BackendError: open_clip is not installed.
    """
    spec = find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise BackendError(
            "open_clip is not installed, and CLIP's merges lie in it: install open_clip_torch"
        )
    path = Path(spec.origin).parent / "bpe_simple_vocab_16e6.txt.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        text = file.read()
    # The list goes on after the merges that CLIP uses.
    return parse_merges("\n".join(text.split("\n")[: OPEN_CLIP_MERGES + 1]))


def spell(word: str) -> str:
    """Writes a word's UTF-8 bytes as the printable characters that stand for them."""
    characters = _byte_characters()
    return "".join(characters[byte] for byte in word.encode("utf-8"))


@lru_cache(maxsize=1)
def _byte_characters() -> dict[int, str]:
    """Gives every byte a printable character: GPT-2's table, in its order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {byte: chr(byte) for byte in printable}
    return table | {byte: chr(256 + place) for place, byte in enumerate(others)}
