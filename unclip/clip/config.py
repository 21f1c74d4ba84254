"""The shape of a CLIP; the defaults are ViT-L/14's, which Karlo uses."""

from dataclasses import dataclass, field

from unclip.errors import ConfigError
from unclip.nn.transformer import Activation


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig:
    """The text tower, a causal transformer."""

    width: int = 768
    num_layers: int = 12
    num_heads: int = 12
    mlp_dim: int = 3072
    context_length: int = 77
    """Tokens, start and end included."""
    vocab_size: int = 49408


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageConfig:
    """The image tower, a vision transformer."""

    width: int = 1024
    num_layers: int = 24
    num_heads: int = 16
    mlp_dim: int = 4096
    patch_size: int = 14
    image_size: int = 224
    """Side of the square it sees, in pixels."""
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    """Of each channel, for pictures in [0, 1]."""
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)

    def __post_init__(self) -> None:
        if self.image_size % self.patch_size:
            raise ConfigError(
                f"clip.image: image_size {self.image_size} is no multiple of patch_size {self.patch_size}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class CLIPConfig:
    """Both towers and the space they share."""

    embed_dim: int = 768
    activation: Activation = "quick_gelu"
    """OpenAI's weights need quick_gelu; a mismatch degrades silently, so it is always said."""
    eps: float = 1e-5
    text: TextConfig = field(default_factory=TextConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
