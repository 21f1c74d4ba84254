"""An opened model to networks: made without memory, compared with the files, then filled.

Every stage is compared before any is read. A tensor that keeps its precision stays where it lies in
its file, mapped; one that is converted is read once, and its pages are given back.
"""

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import torch
from torch import nn

from decoder.config import DecoderConfig
from decoder.model import Decoder
from prior.kinds import AnyPrior, config_of, make
from unclip.clip.config import CLIPConfig
from unclip.clip.encoder import CLIP
from unclip.clip.files import read_tokenizer
from unclip.config import from_dict
from unclip.errors import CheckpointError
from unclip.karlo.opened import OpenModel, OpenStage
from unclip.karlo.weights import check_refs
from unclip.mapped import LazyTensor, load_as
from unclip.nn.initialise import NoFirstWeights
from upsamplers.config import UpsamplerConfig
from upsamplers.model import Upsampler

T = TypeVar("T")


class Networks(NamedTuple):
    """A model's networks, in evaluation mode."""

    clip: CLIP
    prior: AnyPrior | None
    decoder: Decoder
    upsamplers: tuple[Upsampler, ...]

    def pairs(self, model: OpenModel) -> list[tuple[nn.Module, OpenStage]]:
        """Each network beside the stage that it is made of."""
        modules = (self.clip, self.prior, self.decoder, *self.upsamplers)
        made = [module for module in modules if module is not None]
        return list(zip(made, model.all(), strict=True))


def build(model: OpenModel, dtype: torch.dtype | None = torch.float32) -> Networks:
    """Builds all networks; CLIP in float32, the others in `dtype`, or as stored if it is None.

    Raises:
        CheckpointError: a tensor is missing, extra, misshapen or of another kind (the first ten are
            listed, before anything is allocated), or two stages do not fit.
        ConfigError: a stage's configuration is none.
    """
    networks = make_empty(model)
    for module, stage in networks.pairs(model):
        _fill(module, stage.tensors, torch.float32 if module is networks.clip else dtype)
    return networks


def make_empty(model: OpenModel) -> Networks:
    """Makes all networks on the meta device, and compares every stage with them before any is read.

    Raises:
        CheckpointError: a tensor is missing, extra, misshapen or of another kind, or two stages do
            not fit.
        ConfigError: a stage's configuration is none.
    """
    with NoFirstWeights(), torch.device("meta"):
        networks = Networks(
            _make_clip(model.clip),
            None if model.prior is None else make(config_of(model.prior.config, model.prior.stage)),
            Decoder(_config(DecoderConfig, model.decoder)),
            tuple(Upsampler(_config(UpsamplerConfig, stage)) for stage in model.upsamplers),
        )
    _check_fit(networks, model.name)
    for module, stage in networks.pairs(model):
        check_refs(stage.tensors, module.state_dict(), f"{model.name}: {stage.stage}")
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


def _fill(module: nn.Module, refs: Mapping[str, LazyTensor], dtype: torch.dtype | None) -> None:
    """Loads weights as `dtype`; statistics (buffers) stay in float32."""
    statistics = {name for name, _ in module.named_buffers()}
    tensors = {
        name: load_as(refs[name], torch.float32 if name in statistics else dtype)
        for name in module.state_dict()
    }
    module.load_state_dict(tensors, assign=True)
    module.eval()
