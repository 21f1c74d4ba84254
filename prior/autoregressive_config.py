"""What the autoregressive prior is, how it samples, and what a training run of it needs."""

from dataclasses import dataclass, field
from typing import Literal

from unclip.config import BELOW_ONE, INF, check_ranges
from unclip.errors import ConfigError
from unclip.training.pictures import Source
from unclip.training.settings import TrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoregressiveSampling:
    """Defaults of `sample_codes`."""

    guidance_scale: float = 1.0
    """Classifier-free guidance on the logits; 1 is none."""
    candidates: int = 1
    """Embeddings drawn for each picture; the one with the largest dot product with the text is
    kept."""
    dot_percentile: float = 0.5
    """The dot product with the text that is asked for is drawn from above this share of the
    training pictures'; the paper found 0.5 the best of 0.5, 0.7, 0.85 and 0.95."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoregressiveConfig:
    """The network; the defaults are the paper's (arXiv 2204.06125, Table 3)."""

    kind: Literal["autoregressive"] = "autoregressive"
    """Tells its stage folder from a diffusion prior's, which says nothing."""
    embed_dim: int = 1024
    """Width of CLIP's text and image embeddings."""
    text_width: int = 1024
    """Width of the text encoder's token states."""
    context_length: int = 256
    """Text tokens."""
    num_codes: int = 319
    """Principal components of the image embedding, each a token."""
    num_buckets: int = 1024
    """Values that a code may have, and the dot product."""
    num_layers: int = 24
    num_heads: int = 26
    head_dim: int = 64
    """The transformer's width is num_heads x head_dim."""
    text_layers: int = 24
    """Of the caption's own transformer, which looks both ways; 0 for none."""
    text_heads: int = 32
    """Of the caption's transformer, of 64 channels each."""
    sampling: AutoregressiveSampling = field(default_factory=AutoregressiveSampling)

    def __post_init__(self) -> None:
        check_ranges(
            self,
            "prior: ",
            embed_dim=(1, INF),
            text_width=(1, INF),
            context_length=(2, INF),
            num_codes=(1, INF),
            num_buckets=(2, INF),
            num_layers=(1, INF),
            num_heads=(1, INF),
            head_dim=(1, INF),
            text_layers=(0, INF),
            text_heads=(1, INF),
        )
        if self.num_codes > self.embed_dim:
            raise ConfigError(
                f"prior: num_codes is {self.num_codes}, but an embedding has {self.embed_dim} "
                "dimensions: take as many or fewer"
            )
        check_ranges(
            self.sampling,
            "prior: sampling.",
            guidance_scale=(0, INF),
            candidates=(1, INF),
            dot_percentile=(0, BELOW_ONE),
        )

    @property
    def prefix_length(self) -> int:
        """Tokens before the first code: the caption, its embedding, the dot product."""
        return self.context_length + 2


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoregressiveRun:
    """One training run: `accelerate launch -m prior.train_autoregressive --config FILE`."""

    clip: str
    """Stage folder of the frozen CLIP."""
    images: Source
    """Folder of captioned pictures, or scenes."""
    model: AutoregressiveConfig
    train: TrainConfig
    text_dropout: float = 0.1
    """Share of samples whose text is replaced by the empty prompt (unCLIP section 2.2)."""

    def __post_init__(self) -> None:
        check_ranges(self, "prior: ", text_dropout=(0, 1))
        if not isinstance(self.images, str) and self.images.num is None:
            raise ConfigError("prior: all scenes are embedded first: set images.num")
