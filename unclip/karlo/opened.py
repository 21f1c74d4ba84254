"""A model whose files are open and whose tensors are not read yet: what every layout is opened as.

Loading reads all of it (`read`), converting reads a tensor at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from unclip.checkpoint import StageFolder


@runtime_checkable
class LazyTensor(Protocol):
    """A tensor of known type and shape that is read when asked for.

    `unclip.mapped.TensorRef` is one; so is a part of one, or one under another name.
    """

    @property
    def dtype(self) -> torch.dtype:
        """Its type in the file."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, once loaded."""
        ...

    def load(self) -> Tensor:
        """Reads it; mapped where it lies in the file as it is wanted."""
        ...


@dataclass(frozen=True)
class OpenStage:
    """A stage under our names: `StageFolder`, with tensors that are not read."""

    stage: str
    """`clip`, `prior`, `decoder` or `upsampler`."""
    config: dict[str, Any]
    tensors: Mapping[str, LazyTensor]
    metadata: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, bytes] = field(default_factory=dict)

    def read(self) -> StageFolder:
        """Reads (maps) every tensor."""
        tensors = {name: ref.load() for name, ref in self.tensors.items()}
        return StageFolder(self.stage, self.config, self.metadata, tensors, self.extra)


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
