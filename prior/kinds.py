"""The two priors, which may stand in each other's place: diffusion and autoregressive.

Their stage folders are told apart by `kind`, which only the autoregressive one's configuration has.
"""

from collections.abc import Mapping
from typing import Any

import torch

import prior.autoregressive
import prior.model
from prior.autoregressive import AutoregressivePrior
from prior.autoregressive_config import AutoregressiveConfig
from prior.config import PriorConfig
from prior.model import Prior
from unclip.checkpoint import StageFolder
from unclip.config import from_dict

AnyPrior = Prior | AutoregressivePrior


def config_of(data: Mapping[str, Any], where: str) -> PriorConfig | AutoregressiveConfig:
    """Reads a prior's configuration, of either kind.

    Raises:
        ConfigError: it is none.
    """
    return from_dict(AutoregressiveConfig if "kind" in data else PriorConfig, data, where)


def make(config: PriorConfig | AutoregressiveConfig) -> AnyPrior:
    """Builds the network of a configuration."""
    if isinstance(config, AutoregressiveConfig):
        return AutoregressivePrior(config)
    return Prior(config)


def to_stage(network: AnyPrior, metadata: dict[str, object]) -> StageFolder:
    """Returns what is written to disk; `metadata["clip"]` is the CLIP's fingerprint."""
    if isinstance(network, AutoregressivePrior):
        return prior.autoregressive.to_stage(network.config, network.state_dict(), metadata)
    return prior.model.to_stage(network.config, network.state_dict(), metadata)


def from_stage(folder: StageFolder, *, dtype: torch.dtype | None = torch.float32) -> AnyPrior:
    """Builds a prior of either kind in evaluation mode from a stage folder's content.

    Args:
        dtype: of its weights; None keeps them as they are stored.
    """
    if "kind" in folder.config:
        return prior.autoregressive.from_stage(folder, dtype=dtype)
    return prior.model.from_stage(folder, dtype=dtype)
