"""The closed list of stages that a model is made of: kinds of folders to our classes and back.

No file can add to it, and nothing is imported because a file names it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

import decoder.model
import prior.kinds
import upsamplers.model
from decoder.model import Decoder
from prior.kinds import AnyPrior
from unclip.checkpoint import StageFolder
from unclip.clip.encoder import CLIP
from unclip.clip.files import clip_from_stage, clip_to_stage
from unclip.nn.initialise import NoFirstWeights
from unclip.pipeline.folders import ModelStages
from upsamplers.model import Upsampler


class Components(NamedTuple):
    """The networks of one model."""

    clip: CLIP
    prior: AnyPrior | None
    """None for a model of image variations alone."""
    decoder: Decoder
    upsamplers: tuple[Upsampler, ...]


Metadata = Mapping[str, Mapping[str, Any]]
"""What each stage's folder says of its training, by stage: `upsampler_0` is the first upsampler."""


def build(model: ModelStages, *, dtype: torch.dtype | None = torch.float32) -> Components:
    """Builds all networks, in evaluation mode; CLIP is in float32.

    Args:
        dtype: of the others' weights; None keeps them as they are stored, mapped in their files.

    Raises:
        CheckpointError: weights and configuration of a stage disagree.
    """
    with NoFirstWeights():
        return Components(
            clip_from_stage(model.clip.config, model.clip.tensors, model.clip.extra),
            None if model.prior is None else prior.kinds.from_stage(model.prior, dtype=dtype),
            decoder.model.from_stage(model.decoder, dtype=dtype),
            tuple(upsamplers.model.from_stage(stage, dtype=dtype) for stage in model.upsamplers),
        )


def take_apart(components: Components, name: str, metadata: Metadata) -> ModelStages:
    """Turns networks into stages that can be written to disk."""
    clip, first, second, others = components
    config, tensors, extra = clip_to_stage(clip)
    trained_on = {"clip": config["fingerprint"]}

    def known(stage: str) -> dict[str, Any]:
        return dict(metadata.get(stage, {}))

    return ModelStages(
        name,
        StageFolder("clip", config, known("clip"), tensors, extra),
        None if first is None else prior.kinds.to_stage(first, known("prior") | trained_on),
        decoder.model.to_stage(second.config, second.state_dict(), known("decoder") | trained_on),
        tuple(
            upsamplers.model.to_stage(
                upsampler.config, upsampler.state_dict(), known(f"upsampler_{number}")
            )
            for number, upsampler in enumerate(others)
        ),
    )


def metadata_of(model: ModelStages) -> Metadata:
    """Returns what the stages' folders say of their training."""
    named = {"clip": model.clip, "decoder": model.decoder}
    named |= {} if model.prior is None else {"prior": model.prior}
    named |= {f"upsampler_{number}": stage for number, stage in enumerate(model.upsamplers)}
    return {name: stage.metadata for name, stage in named.items()}
