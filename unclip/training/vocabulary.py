"""Learns a small vocabulary for a CLIP of one's own: byte-pair merges over the captions of a folder
of pictures, and other texts.

    python -m unclip.training.vocabulary --images DIR --out configs/pocket/merges.txt --merges 3000

A world of a few thousand words needs a tenth of CLIP's own 49,408 tokens, and every word of it then
is one token (Sennrich et al. 2016, learned with Hugging Face's tokenizers).
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from unclip.clip.tokenize import NUM_BYTE_TOKENS, NUM_SPECIAL_TOKENS, WORD_END, spell
from unclip.clip.words import words
from unclip.data.composer.dataset import SceneDataset, open_scenes
from unclip.data.composer.world import WorldSettings
from unclip.data.images import read_folder
from unclip.errors import ConfigError, DataError, run_command

MIN_COUNT = 2
"""A pair that is seen less often is no part of the language."""


def learn_merges(texts: Iterable[str], num_merges: int) -> list[tuple[str, str]]:
    """Learns up to `num_merges` merges, the most useful first; fewer where the texts run out.

    The order of equal pairs is the library's, so a vocabulary that is used is kept as a file.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.trainers import BpeTrainer

    counts = Counter(
        spell(word) for text in texts for word in words(text, "open_clip") if isinstance(word, str)
    )
    tokenizer = Tokenizer(BPE(end_of_word_suffix=WORD_END))
    # The characters that stand for bytes hold no whitespace.
    tokenizer.pre_tokenizer = WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]  # a property
    trainer = BpeTrainer(
        vocab_size=NUM_BYTE_TOKENS + num_merges,
        min_frequency=MIN_COUNT,
        show_progress=False,
        end_of_word_suffix=WORD_END,
    )
    # A word is given as often as it occurs, in an order that does not depend on the texts'.
    repeated = (" ".join([word] * count) for word, count in sorted(counts.items()))
    tokenizer.train_from_iterator(repeated, trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [(first, second) for first, second in merges[:num_merges]]


def write_vocabulary(texts: Iterable[str], out: Path, num_merges: int) -> int:
    """Writes `merges.txt`; returns the number of merges.

    Raises:
        ConfigError: no merge is asked for.
        DataError: the texts hold no pair that occurs twice.
    """
    if num_merges < 1:
        raise ConfigError(f"--merges {num_merges} cannot be used: choose 1 or more")
    merges = learn_merges(texts, num_merges)
    if not merges:
        raise DataError("these captions hold nothing that can be merged: give it more of them")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("".join(f"{first} {second}\n" for first, second in merges), encoding="utf-8")
    return len(merges)


def main(argv: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m unclip.training.vocabulary")
    parser.add_argument("--images", type=Path, required=True, help="folder of captioned pictures")
    parser.add_argument("--texts", type=Path, help="more texts, one a line")
    parser.add_argument(
        "--scenes", type=int, default=0, help="captions of so many scenes, if it is a built set"
    )
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--merges", type=int, default=3000, help="number of merges")
    options = parser.parse_args(argv)

    def work() -> str:
        texts = [caption for record in read_folder(options.images) for caption in record.captions]
        if options.texts is not None:
            texts += read_lines(options.texts)
        if options.scenes:
            texts += scene_captions(options.images, options.scenes)
        count = write_vocabulary(texts, options.out, options.merges)
        size = count + NUM_BYTE_TOKENS + NUM_SPECIAL_TOKENS
        return f"{count} merges in {options.out}: model.text.vocab_size {size}"

    return run_command(work)


def scene_captions(folder: Path, count: int) -> list[str]:
    """Returns captions of scenes of a built set, half of the things by their synonyms.

    Raises:
        DataError: it is no built set.
    """
    world, _ = open_scenes(folder, WorldSettings())
    dataset = SceneDataset(world, None, synonym_share=0.5)
    return [dataset[place, place]["caption"] for place in range(count)]


def read_lines(path: Path) -> list[str]:
    """Reads a file of texts, one a line.

    Raises:
        DataError: it cannot be read as UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read --texts {path}: {error}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
