"""What a prior is, how it samples by default, and what a training run of it needs."""

from dataclasses import dataclass, field
from typing import Literal

from unclip.config import INF, check_ranges
from unclip.diffusion.schedules import DiffusionConfig
from unclip.errors import ConfigError
from unclip.training.pictures import SceneSource, Source
from unclip.training.settings import TrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorSampling:
    """Defaults of `sample_image_embed`."""

    num_steps: int = 25
    """Network evaluations of the ancestral sampler."""
    guidance_scale: float = 1.0
    """Classifier-free guidance on the predicted x_start; 1 is none (unCLIP section 5.5), Karlo uses
    4."""
    candidates: int = 2
    """Embeddings drawn for each picture; the one with the largest dot product with the text is
    kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorConfig:
    """The network; the defaults are Karlo's."""

    embed_dim: int = 768
    """Width of CLIP's text and image embeddings."""
    text_width: int = 768
    """Width of the text encoder's token states."""
    context_length: int = 77
    """Text tokens."""
    num_layers: int = 20
    num_heads: int = 32
    head_dim: int = 64
    """The transformer's width is num_heads x head_dim."""
    diffusion: DiffusionConfig = field(
        default_factory=lambda: DiffusionConfig(prediction="x_start", clip_x_start=5.0)
    )
    sampling: PriorSampling = field(default_factory=PriorSampling)

    def __post_init__(self) -> None:
        check_ranges(
            self,
            "prior: ",
            embed_dim=(1, INF),
            text_width=(1, INF),
            context_length=(2, INF),
            num_layers=(1, INF),
            num_heads=(1, INF),
            head_dim=(1, INF),
        )
        if self.num_heads * self.head_dim % 2:
            raise ConfigError(
                f"prior: {self.num_heads} heads of {self.head_dim} make an odd width; the time "
                "embedding is made of pairs of a cosine and a sine: change one of them"
            )
        check_ranges(
            self.sampling,
            "prior: sampling.",
            num_steps=(1, self.diffusion.num_timesteps),
            guidance_scale=(0, INF),
            candidates=(1, INF),
        )
        if self.diffusion.variance != "fixed_small":
            raise ConfigError(
                f"prior: diffusion.variance is {self.diffusion.variance!r}; the prior has "
                "one output an embedding dimension, so use fixed_small"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorRun:
    """One training run: `accelerate launch -m prior.train --config FILE --out DIR`."""

    clip: str
    """Stage folder of the frozen CLIP."""
    images: Source | None = None
    """Folder of captioned pictures, or scenes; CLIP embeds them all when the run begins."""
    embeddings: str | None = None
    """Folder of embeddings (`unclip data embed`, then `unclip data stats`) instead of pictures."""
    model: PriorConfig
    train: TrainConfig
    text_dropout: float = 0.1
    """Share of samples whose text is replaced by the empty prompt (unCLIP section 2.2)."""
    draws_per_caption: int = 1
    """Noised embeddings that one caption is run for: more of them cost little, for its text is run
    once. A step then learns from batch_size x draws_per_caption."""
    caption: str | None = None
    """Said of pictures of a folder that have no caption; None leaves them out."""
    whitening: Literal["measured", "kept"] = "measured"
    """Mean and standard deviation of embeddings: of this run's pictures, or those of
    `train.start_from`, which a few pictures of one thing must not change."""

    def __post_init__(self) -> None:
        check_ranges(self, "prior: ", text_dropout=(0, 1), draws_per_caption=(1, INF))
        if (self.images is None) == (self.embeddings is None):
            given = "none of them" if self.images is None else "both"
            raise ConfigError(f"prior: got {given} of images and embeddings: give one")
        if isinstance(self.images, SceneSource) and self.images.num is None:
            raise ConfigError("prior: all scenes are embedded first: set images.num")
        if self.whitening == "kept" and self.train.start_from is None:
            raise ConfigError("prior: whitening is kept, but of what? Set train.start_from")
