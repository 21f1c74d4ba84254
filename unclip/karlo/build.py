"""An opened model to networks: made without memory, compared with the files, then filled.

Every stage is compared before any is read. A tensor that keeps its precision stays where it lies in
its file, mapped; one that is converted is read once, and its pages are given back.
"""

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from decoder.config import DecoderConfig
from decoder.model import Decoder
from prior.config import PriorConfig
from prior.model import Prior
from unclip.clip.config import CLIPConfig
from unclip.clip.encoder import CLIP
from unclip.clip.files import read_tokenizer
from unclip.config import from_dict
from unclip.errors import CheckpointError
from unclip.karlo.opened import LazyTensor, OpenModel, OpenStage
from unclip.karlo.weights import check_refs
from unclip.mapped import TensorRef
from unclip.nn.initialise import NoFirstWeights
from upsamplers.config import UpsamplerConfig
from upsamplers.model import Upsampler

T = TypeVar("T")


class Networks(NamedTuple):
    """A model's networks, in evaluation mode."""

    clip: CLIP
    prior: Prior | None
    decoder: Decoder
    upsamplers: tuple[Upsampler, ...]


def build(model: OpenModel, dtype: torch.dtype = torch.float32) -> Networks:
    """Builds all networks; CLIP in float32, the others in `dtype`.

    Raises:
        CheckpointError: a tensor is missing, extra, misshapen or of another kind (the first ten are
            listed, before anything is allocated), or two stages do not fit.
        ConfigError: a stage's configuration is none.
    """
    with NoFirstWeights(), torch.device("meta"):
        networks = Networks(
            _make_clip(model.clip),
            None if model.prior is None else Prior(_config(PriorConfig, model.prior)),
            Decoder(_config(DecoderConfig, model.decoder)),
            tuple(Upsampler(_config(UpsamplerConfig, stage)) for stage in model.upsamplers),
        )
    _check_fit(networks, model.name)
    modules = (networks.clip, networks.prior, networks.decoder, *networks.upsamplers)
    made = [module for module in modules if module is not None]
    pairs = list(zip(made, model.all(), strict=True))
    for module, stage in pairs:
        check_refs(stage.tensors, module.state_dict(), f"{model.name}: {stage.stage}")
    for module, stage in pairs:
        _fill(module, stage.tensors, torch.float32 if module is networks.clip else dtype)
    return networks


def stored_dtype(model: OpenModel) -> torch.dtype:
    """The precision that the decoder's weights are stored in."""
    return next(iter(model.decoder.tensors.values())).dtype


def _make_clip(stage: OpenStage) -> CLIP:
    values = dict(stage.config)
    fingerprint = values.pop("fingerprint", None)
    config = from_dict(CLIPConfig, values, "clip")
    tokenizer = read_tokenizer(config.text, stage.extra)
    return CLIP(config, tokenizer, fingerprint=fingerprint)


def _config(kind: type[T], stage: OpenStage) -> T:
    return from_dict(kind, stage.config, stage.stage)


def _check_fit(networks: Networks, name: str) -> None:
    """Compares what the stages hand to each other."""
    for network in (networks.prior, networks.decoder):
        if network is None:
            continue
        for what, got, expected in networks.clip.config.differences(network.config):
            raise CheckpointError(
                f"{name}: the {type(network).__name__.lower()}'s {what} is {got}, its CLIP's is "
                f"{expected}: they do not fit"
            )
    size = networks.decoder.config.image_size
    for upsampler in networks.upsamplers:
        if upsampler.config.low_size != size:
            raise CheckpointError(
                f"{name}: an upsampler takes {upsampler.config.low_size} px, but the stage before "
                f"it gives {size} px"
            )
        size = upsampler.config.image_size


def _fill(module: nn.Module, refs: Mapping[str, LazyTensor], dtype: torch.dtype) -> None:
    """Loads weights as `dtype`; statistics (buffers) stay in float32."""
    statistics = {name for name, _ in module.named_buffers()}
    tensors = {
        name: _load(refs[name], torch.float32 if name in statistics else dtype)
        for name in module.state_dict()
    }
    module.load_state_dict(tensors, assign=True)
    module.eval()


def _load(ref: LazyTensor, dtype: torch.dtype) -> Tensor:
    if isinstance(ref, TensorRef):
        return ref.load_as(dtype)
    return ref.load().to(dtype)
