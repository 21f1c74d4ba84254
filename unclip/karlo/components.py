"""The configuration files of a diffusers unCLIP, key by key: what they may say.

A closed registry: each class is one of diffusers' or transformers' own, a field is one of its
arguments, a default is that class's default. A `Literal` (or `None`) is all that our networks do;
`unclip.config.from_dict` refuses anything else by name, an unknown key, too. Keys that change
nothing in sampling (dropout, how weights were drawn) take any value.
"""

from dataclasses import dataclass
from typing import Any, Literal

from unclip.errors import ConfigError

Version = str | None


def _expect(where: object, **values: Any) -> None:
    """For numbers, which no `Literal` can be."""
    for name, wanted in values.items():
        if (got := getattr(where, name)) != wanted:
            raise ConfigError(f"{name} is {got}, expected {wanted}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorTransformer:
    """diffusers' prior."""

    _class_name: Literal["PriorTransformer"]
    _diffusers_version: Version = None
    _name_or_path: Version = None
    num_attention_heads: int = 32
    attention_head_dim: int = 64
    num_layers: int = 20
    embedding_dim: int = 768
    num_embeddings: int = 77
    additional_embeddings: Literal[4] = 4
    dropout: float = 0.0
    time_embed_act_fn: Literal["silu"] = "silu"
    norm_in_type: None = None
    embedding_proj_norm_type: None = None
    encoder_hid_proj_type: Literal["linear"] = "linear"
    added_emb_type: Literal["prd"] = "prd"
    time_embed_dim: int | None = None
    embedding_proj_dim: int | None = None
    clip_embed_dim: int | None = None

    def __post_init__(self) -> None:
        width, dim = self.num_attention_heads * self.attention_head_dim, self.embedding_dim
        for name, wanted in (
            ("time_embed_dim", width),
            ("embedding_proj_dim", dim),
            ("clip_embed_dim", dim),
        ):
            if getattr(self, name) is not None:
                _expect(self, **{name: wanted})


@dataclass(frozen=True, kw_only=True, slots=True)
class UnCLIPTextProjModel:
    """How CLIP's embeddings enter the decoder."""

    _class_name: Literal["UnCLIPTextProjModel"]
    _diffusers_version: Version = None
    _name_or_path: Version = None
    clip_extra_context_tokens: int = 4
    clip_embeddings_dim: int = 768
    time_embed_dim: int
    cross_attention_dim: int


@dataclass(frozen=True, kw_only=True, slots=True)
class UNet2DConditionModel:
    """The decoder's network."""

    _class_name: Literal["UNet2DConditionModel"]
    _diffusers_version: Version = None
    _name_or_path: Version = None
    sample_size: int
    in_channels: Literal[3]
    out_channels: Literal[6]
    center_input_sample: Literal[False] = False
    flip_sin_to_cos: Literal[True] = True
    freq_shift: Literal[0] = 0
    down_block_types: tuple[Literal["ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"], ...]
    mid_block_type: Literal["UNetMidBlock2DSimpleCrossAttn"]
    up_block_types: tuple[Literal["ResnetUpsampleBlock2D", "SimpleCrossAttnUpBlock2D"], ...]
    only_cross_attention: Literal[False] = False
    block_out_channels: tuple[int, ...]
    layers_per_block: int = 2
    downsample_padding: int = 1
    """Of another kind of block."""
    mid_block_scale_factor: float = 1.0
    dropout: float = 0.0
    act_fn: Literal["silu"] = "silu"
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    cross_attention_dim: int
    transformer_layers_per_block: Literal[1] = 1
    reverse_transformer_layers_per_block: None = None
    encoder_hid_dim: None = None
    encoder_hid_dim_type: None = None
    attention_head_dim: int = 8
    num_attention_heads: None = None
    dual_cross_attention: Literal[False] = False
    use_linear_projection: Literal[False] = False
    class_embed_type: Literal["identity"]
    addition_embed_type: None = None
    addition_time_embed_dim: None = None
    num_class_embeds: None = None
    upcast_attention: Literal[False] = False
    resnet_time_scale_shift: Literal["scale_shift"]
    resnet_skip_time_act: Literal[False] = False
    resnet_out_scale_factor: float = 1.0
    time_embedding_type: Literal["positional"] = "positional"
    time_embedding_dim: None = None
    time_embedding_act_fn: None = None
    timestep_post_act: None = None
    time_cond_proj_dim: None = None
    conv_in_kernel: Literal[3] = 3
    conv_out_kernel: Literal[3] = 3
    projection_class_embeddings_input_dim: None = None
    attention_type: Literal["default"] = "default"
    class_embeddings_concat: Literal[False] = False
    mid_block_only_cross_attention: Literal[False] | None = None
    cross_attention_norm: None = None
    addition_embed_type_num_heads: int = 64

    def __post_init__(self) -> None:
        _expect(self, norm_eps=1e-5, mid_block_scale_factor=1, resnet_out_scale_factor=1)
        levels = len(self.block_out_channels) - 1
        _expect(
            self,
            down_block_types=(
                "ResnetDownsampleBlock2D",
                *["SimpleCrossAttnDownBlock2D"] * levels,
            ),
            up_block_types=(*["SimpleCrossAttnUpBlock2D"] * levels, "ResnetUpsampleBlock2D"),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class UNet2DModel:
    """The networks of the upsampler."""

    _class_name: Literal["UNet2DModel"]
    _diffusers_version: Version = None
    _name_or_path: Version = None
    sample_size: int | None = None
    in_channels: Literal[6]
    out_channels: Literal[3] = 3
    center_input_sample: Literal[False] = False
    time_embedding_type: Literal["positional"] = "positional"
    time_embedding_dim: None = None
    freq_shift: Literal[0] = 0
    flip_sin_to_cos: Literal[True] = True
    down_block_types: tuple[Literal["ResnetDownsampleBlock2D"], ...]
    mid_block_type: Literal["UNetMidBlock2D"] = "UNetMidBlock2D"
    up_block_types: tuple[Literal["ResnetUpsampleBlock2D"], ...]
    block_out_channels: tuple[int, ...]
    layers_per_block: int = 2
    mid_block_scale_factor: float = 1.0
    downsample_padding: int = 1
    """Of another kind of block, like the two that follow."""
    downsample_type: str = "conv"
    upsample_type: str = "conv"
    dropout: float = 0.0
    act_fn: Literal["silu"] = "silu"
    attention_head_dim: int | None = 8
    norm_num_groups: int = 32
    attn_norm_num_groups: int | None = None
    norm_eps: float = 1e-5
    resnet_time_scale_shift: Literal["default"] = "default"
    add_attention: bool = True
    class_embed_type: None = None
    num_class_embeds: None = None
    num_train_timesteps: int | None = None

    def __post_init__(self) -> None:
        _expect(self, norm_eps=1e-5, mid_block_scale_factor=1)
        for name in ("down_block_types", "up_block_types"):
            if len(getattr(self, name)) != len(self.block_out_channels):
                raise ConfigError(f"{name} and block_out_channels differ in length")
        if self.attn_norm_num_groups is not None:
            _expect(self, attn_norm_num_groups=self.norm_num_groups)


@dataclass(frozen=True, kw_only=True, slots=True)
class UnCLIPScheduler:
    """The process that a network was trained on."""

    _class_name: Literal["UnCLIPScheduler"]
    _diffusers_version: Version = None
    _name_or_path: Version = None
    num_train_timesteps: int = 1000
    variance_type: Literal["fixed_small_log", "learned_range"] = "fixed_small_log"
    clip_sample: bool = True
    clip_sample_range: float | None = 1.0
    prediction_type: Literal["epsilon", "sample"] = "epsilon"
    beta_schedule: Literal["squaredcos_cap_v2"] = "squaredcos_cap_v2"

    def __post_init__(self) -> None:
        if self.clip_sample and self.clip_sample_range is None:
            raise ConfigError("clip_sample_range is null, expected a number")


@dataclass(frozen=True, kw_only=True, slots=True)
class CLIPTextModel:
    """transformers' text tower with its projection."""

    model_type: Literal["clip_text_model"] = "clip_text_model"
    vocab_size: int = 49408
    hidden_size: int = 512
    intermediate_size: int = 2048
    projection_dim: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int = 8
    max_position_embeddings: int = 77
    hidden_act: Literal["gelu", "quick_gelu"] = "quick_gelu"
    layer_norm_eps: float = 1e-5
    attention_dropout: float = 0.0
    dropout: float = 0.0
    initializer_range: float = 0.02
    initializer_factor: float = 1.0
    pad_token_id: int | None = 1
    bos_token_id: int | None = 49406
    eos_token_id: int | None = 49407
    """2 in files of before 2023 says: the largest id."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CLIPVisionModel:
    """transformers' image tower with its projection."""

    model_type: Literal["clip_vision_model"] = "clip_vision_model"
    hidden_size: int = 768
    intermediate_size: int = 3072
    projection_dim: int = 512
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: Literal[3] = 3
    image_size: int = 224
    patch_size: int = 32
    hidden_act: Literal["gelu", "quick_gelu"] = "quick_gelu"
    layer_norm_eps: float = 1e-5
    attention_dropout: float = 0.0
    dropout: float = 0.0
    initializer_range: float = 0.02
    initializer_factor: float = 1.0


TRANSFORMERS_REMARKS = frozenset(
    {
        "_name_or_path",
        "architectures",
        "chunk_size_feed_forward",
        "dtype",
        "id2label",
        "is_encoder_decoder",
        "label2id",
        "output_attentions",
        "output_hidden_states",
        "problem_type",
        "return_dict",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)
"""What transformers writes into any config, and no tower reads."""
