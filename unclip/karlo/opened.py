"""A model whose files are open and whose tensors are not read yet: what every layout is opened as.

Loading maps all of it (`unclip.karlo.build`), converting reads a tensor at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unclip.mapped import LazyTensor


@dataclass(frozen=True)
class OpenStage:
    """A stage under our names: `StageFolder`, with tensors that are not read."""

    stage: str
    """`clip`, `prior`, `decoder` or `upsampler`."""
    config: dict[str, Any]
    tensors: Mapping[str, LazyTensor]
    metadata: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class OpenModel:
    """The stages of one model, in whatever layout they lie on disk."""

    name: str
    clip: OpenStage
    prior: OpenStage | None
    """None for a model of image variations."""
    decoder: OpenStage
    upsamplers: tuple[OpenStage, ...]
    licence: str | None = None
    """The licence's identifier where the layout has one of its own (`openrail++` and the like)."""

    def all(self) -> tuple[OpenStage, ...]:
        """The stages in the order they run."""
        stages = (self.clip, self.prior, self.decoder, *self.upsamplers)
        return tuple(stage for stage in stages if stage is not None)
