"""CLIP as a stage folder's content: configuration, weights, and the tokenizer's merges as text."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unclip.clip.config import CLIPConfig
from unclip.clip.encoder import CLIP
from unclip.clip.tokenize import Tokenizer, parse_merges
from unclip.config import from_dict, to_dict
from unclip.errors import CheckpointError

MERGES = "merges.txt"


def clip_to_stage(clip: CLIP) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, bytes]]:
    """Returns configuration, weights and extra files."""
    extra = {MERGES: clip.tokenizer.merges_text().encode()}
    return to_dict(clip.config), clip.state_dict(), extra


def clip_from_stage(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], extra: Mapping[str, bytes]
) -> CLIP:
    """Builds a CLIP in evaluation mode from what `clip_to_stage` gives.

    Raises:
        CheckpointError: the merges are missing, or the weights do not fit.
    """
    shape = from_dict(CLIPConfig, config, "clip/config.json")
    if MERGES not in extra:
        raise CheckpointError(f"clip: {MERGES} is missing beside the weights")
    merges = parse_merges(extra[MERGES].decode("utf-8"))
    tokenizer = Tokenizer(merges, shape.text.vocab_size, shape.text.context_length)
    with torch.device("meta"):
        clip = CLIP(shape, tokenizer)
    wanted = {name: tensor.shape for name, tensor in clip.state_dict().items()}
    if wanted != {name: tensor.shape for name, tensor in tensors.items()}:
        differing = sorted(wanted.keys() ^ tensors.keys()) or [
            name for name in wanted if wanted[name] != tensors[name].shape
        ]
        raise CheckpointError(f"clip: the weights do not fit the config: {', '.join(differing[:10])}")
    clip.load_state_dict({name: t.float() for name, t in tensors.items()}, assign=True)
    return clip.eval()
