"""A CLIP as the content of a stage folder, and back."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unclip.clip.config import CLIPConfig, TextConfig
from unclip.clip.encoder import CLIP
from unclip.clip.tokenize import Tokenizer, parse_merges
from unclip.clip.vocabulary import Vocabulary
from unclip.config import from_dict, to_dict
from unclip.errors import CheckpointError

MERGES = "merges.txt"
VOCABULARY = "vocabulary.json"
"""Only of a CLIP whose vocabulary is another than CLIP's own."""


def clip_to_stage(clip: CLIP) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, bytes]]:
    """Returns the config, the tensors and the extra files of a stage folder."""
    config = {**to_dict(clip.config), "fingerprint": clip.fingerprint()}
    extra = {MERGES: clip.tokenizer.merges_file()}
    if (vocabulary := clip.tokenizer.vocabulary_file()) is not None:
        extra[VOCABULARY] = vocabulary
    return config, dict(clip.state_dict()), extra


def clip_from_stage(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], extra_files: Mapping[str, bytes]
) -> CLIP:
    """Builds a CLIP in evaluation mode and float32 from what `clip_to_stage` gave.

    Raises:
        CheckpointError: the merges are missing, or names or shapes do not fit the config.
        ConfigError: the config has unknown keys or wrong values.
    """
    values = dict(config)
    fingerprint = values.pop("fingerprint", None)
    parsed = from_dict(CLIPConfig, values, "clip/config.json")
    tokenizer = read_tokenizer(parsed.text, extra_files)
    return _fill(parsed, tensors, tokenizer, fingerprint)


def read_tokenizer(text: TextConfig, extra_files: Mapping[str, bytes]) -> Tokenizer:
    """Builds a CLIP's tokenizer from the small files of its stage folder.

    Raises:
        CheckpointError: the merges are missing or damaged, or the vocabulary is.
        ConfigError: the vocabulary does not fit the config.
    """
    if MERGES not in extra_files:
        raise CheckpointError(f"this CLIP folder has no {MERGES}: copy the folder whole")
    content = extra_files.get(VOCABULARY)
    return Tokenizer(
        parse_merges(extra_files[MERGES].decode("utf-8")),
        text.vocab_size,
        text.context_length,
        text.clean,
        None if content is None else Vocabulary.from_bytes(content),
    )


def build_clip(
    config: CLIPConfig,
    tensors: Mapping[str, Tensor],
    merges: list[tuple[str, str]],
    *,
    fingerprint: str | None = None,
) -> CLIP:
    """Builds a CLIP in evaluation mode and float32 from weights under our names.

    Raises:
        CheckpointError: names or shapes do not fit the config; the first ten are listed.
    """
    text = config.text
    tokenizer = Tokenizer(merges, text.vocab_size, text.context_length, text.clean)
    return _fill(config, tensors, tokenizer, fingerprint)


def _fill(
    config: CLIPConfig,
    tensors: Mapping[str, Tensor],
    tokenizer: Tokenizer,
    fingerprint: str | None,
) -> CLIP:
    with torch.device("meta"):
        clip = CLIP(config, tokenizer, fingerprint=fingerprint)
    wanted = clip.state_dict()
    problems = [f"missing {name}" for name in wanted.keys() - tensors.keys()]
    problems += [f"unknown {name}" for name in tensors.keys() - wanted.keys()]
    problems += [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(wanted[name].shape)}"
        for name in wanted.keys() & tensors.keys()
        if tensors[name].shape != wanted[name].shape
    ]
    if problems:
        rest = f" and {len(problems) - 10} more" if len(problems) > 10 else ""
        listed = "; ".join(sorted(problems)[:10])
        raise CheckpointError(f"CLIP weights do not fit their config: {listed}{rest}")
    clip.load_state_dict({name: tensors[name].float() for name in wanted}, assign=True)
    return clip.eval()
