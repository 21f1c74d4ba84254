"""The shape of a CLIP: two transformer towers that end in one space.

The defaults are those of ViT-L/14, save the activation: OpenAI's own weights use `quick_gelu`.
"""

from dataclasses import dataclass, field
from typing import Literal

from unclip.config import INF, check_ranges
from unclip.errors import ConfigError

Clean = Literal["open_clip", "hugging_face"]
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, kw_only=True, slots=True)
class TextConfig:
    """The causal text tower and its tokenizer."""

    width: int = 768
    num_layers: int = 12
    num_heads: int = 12
    mlp_dim: int = 3072
    context_length: int = 77
    """Tokens of a prompt, start and end included; longer prompts are cut."""
    vocab_size: int = 49408
    """512 for bytes, then the first merges of CLIP's list, then start and end of text."""
    clean: Clean = "open_clip"
    """Whose reading of odd characters the tokenizer follows; both read plain English alike."""

    def __post_init__(self) -> None:
        _check_heads("text", self.width, self.num_heads)
        check_ranges(self, "text.", context_length=(2, INF))


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageConfig:
    """The image tower and how pictures are prepared for it."""

    width: int = 1024
    num_layers: int = 24
    num_heads: int = 16
    mlp_dim: int = 4096
    patch_size: int = 14
    """Side of a patch in pixels."""
    image_size: int = 224
    """Side of the square picture in pixels."""
    mean: tuple[float, float, float] = OPENAI_MEAN
    """Of red, green, blue in [0, 1]; subtracted."""
    std: tuple[float, float, float] = OPENAI_STD
    """Divided by, after the mean was subtracted."""

    def __post_init__(self) -> None:
        _check_heads("image", self.width, self.num_heads)
        if self.image_size % self.patch_size:
            raise ConfigError(
                f"image.image_size is {self.image_size}, expected a multiple of image.patch_size "
                f"{self.patch_size}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class CLIPConfig:
    """Both towers."""

    embed_dim: int = 768
    """Width of the shared space."""
    text: TextConfig = field(default_factory=TextConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    activation: Literal["gelu", "quick_gelu"] = "gelu"
    eps: float = 1e-5
    """Of the layer norms."""
    text_only: bool = False
    """There is no image tower, as in Karlo's text to image; `image` is then of no account."""

    def differences(self, model: object) -> list[tuple[str, int, int]]:
        """Lists where a prior's or decoder's configuration does not fit: name, its value, ours."""
        shared = {
            "embed_dim": self.embed_dim,
            "text_width": self.text.width,
            "context_length": self.text.context_length,
        }
        return [
            (name, getattr(model, name), value)
            for name, value in shared.items()
            if getattr(model, name, value) != value
        ]


def _check_heads(tower: str, width: int, num_heads: int) -> None:
    if num_heads < 1 or width % num_heads:
        raise ConfigError(
            f"{tower}.width is {width}, expected a multiple of {tower}.num_heads {num_heads}"
        )
