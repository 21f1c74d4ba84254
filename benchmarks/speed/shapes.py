"""The sizes at which speed is measured: what each of the networks is, in diffusers' own words.

`karlo` is Karlo's; `small` has its depth of structure at a thirtieth of its cost, for a CPU; `tiny`
only runs every line.
"""

from dataclasses import dataclass
from typing import Any

from unclip.errors import ConfigError

CLIP_CONTEXT = 77
IMAGE_TOKENS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Steps:
    """Network evaluations of each stage's sampler."""

    prior: int
    decoder: int
    super_res: int


KARLO_STEPS = Steps(prior=25, decoder=25, super_res=7)
"""What diffusers takes when it isn't told."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """CLIP's text tower."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    vocabulary: int = 49408
    """514 is bytes alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """One set of networks."""

    name: str
    text: Text
    prior_layers: int
    prior_heads: int
    prior_head_dim: int = 64
    embed_dim: int = 768
    context_dim: int = 1536
    channels: tuple[int, ...] = (320, 640, 960, 1280)
    """Of the decoder's levels; attention on all but the first."""
    head_dim: int = 64
    depth: int = 3
    """Residual blocks a level, decoder and upsampler."""
    super_res_channels: tuple[int, ...] = (320, 640, 960, 1280)
    small_px: int = 64
    large_px: int = 256
    steps: Steps = KARLO_STEPS
    stored: str = "float32"
    """Precision of the files."""

    @property
    def decoder(self) -> dict[str, Any]:
        """Configuration of diffusers' UNet2DConditionModel."""
        levels = len(self.channels) - 1
        return {
            "sample_size": self.small_px,
            "in_channels": 3,
            "out_channels": 6,
            "block_out_channels": list(self.channels),
            "layers_per_block": self.depth,
            "down_block_types": ["ResnetDownsampleBlock2D"]
            + ["SimpleCrossAttnDownBlock2D"] * levels,
            "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
            "up_block_types": ["SimpleCrossAttnUpBlock2D"] * levels + ["ResnetUpsampleBlock2D"],
            "attention_head_dim": self.head_dim,
            "cross_attention_dim": self.context_dim,
            "class_embed_type": "identity",
            "resnet_time_scale_shift": "scale_shift",
        }

    @property
    def super_res(self) -> dict[str, Any]:
        """Configuration of diffusers' UNet2DModel, both of them."""
        levels = len(self.super_res_channels)
        return {
            "sample_size": self.large_px,
            "in_channels": 6,
            "out_channels": 3,
            "add_attention": False,
            "block_out_channels": list(self.super_res_channels),
            "layers_per_block": self.depth,
            "down_block_types": ["ResnetDownsampleBlock2D"] * levels,
            "up_block_types": ["ResnetUpsampleBlock2D"] * levels,
            "norm_eps": 1e-5,
        }

    @property
    def prior(self) -> dict[str, Any]:
        """Configuration of diffusers' PriorTransformer."""
        return {
            "num_attention_heads": self.prior_heads,
            "attention_head_dim": self.prior_head_dim,
            "num_layers": self.prior_layers,
            "embedding_dim": self.embed_dim,
            "num_embeddings": CLIP_CONTEXT,
            "additional_embeddings": 4,
        }

    @property
    def text_proj(self) -> dict[str, Any]:
        """Configuration of diffusers' UnCLIPTextProjModel."""
        return {
            "clip_extra_context_tokens": IMAGE_TOKENS,
            "clip_embeddings_dim": self.embed_dim,
            "time_embed_dim": 4 * self.channels[0],
            "cross_attention_dim": self.context_dim,
        }

    @property
    def text_encoder(self) -> dict[str, Any]:
        """Configuration of transformers' CLIPTextModelWithProjection."""
        return {
            "hidden_size": self.text.width,
            "intermediate_size": 4 * self.text.width,
            "projection_dim": self.embed_dim,
            "num_hidden_layers": self.text.layers,
            "num_attention_heads": self.text.heads,
            "vocab_size": self.text.vocabulary,
            "max_position_embeddings": CLIP_CONTEXT,
            "hidden_act": "quick_gelu",
            "layer_norm_eps": 1e-5,
            "bos_token_id": 0,
            "pad_token_id": 1,
            # Then the state at the largest id is taken, as when Karlo was trained.
            "eos_token_id": 2,
        }


_SHAPES = (
    Shape(
        name="tiny",
        text=Text(width=32, layers=2, heads=4, vocabulary=514),
        prior_layers=2,
        prior_heads=2,
        prior_head_dim=16,
        embed_dim=32,
        context_dim=32,
        channels=(32, 64),
        head_dim=16,
        depth=1,
        super_res_channels=(32, 64),
        small_px=8,
        large_px=32,
        steps=Steps(prior=4, decoder=25, super_res=7),
    ),
    Shape(
        name="small",
        text=Text(layers=6),
        prior_layers=10,
        prior_heads=16,
        context_dim=512,
        channels=(96, 192, 288, 384),
        head_dim=32,
        depth=1,
        super_res_channels=(64, 128, 192, 256),
    ),
    Shape(name="karlo", text=Text(), prior_layers=20, prior_heads=32, stored="float16"),
)
SHAPES = {shape.name: shape for shape in _SHAPES}


def find_shape(name: str) -> Shape:
    """Returns a shape by name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in SHAPES:
        raise ConfigError(f"--shape is {name}, expected one of {', '.join(SHAPES)}")
    return SHAPES[name]
