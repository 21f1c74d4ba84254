"""What a decoder is, how it samples by default, and what a training run of it needs."""

from dataclasses import dataclass, field

from unclip.diffusion.sampling import SamplerName
from unclip.diffusion.schedules import DiffusionConfig
from unclip.errors import ConfigError
from unclip.nn.unet import UNetConfig
from unclip.training.settings import TrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderSampling:
    """Defaults of `sample_images`."""

    num_steps: int = 25
    guidance_scale: float = 8.0
    """Classifier-free guidance; 1 is none."""
    sampler: SamplerName = "ddpm"


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderConfig:
    """The network; the defaults are Karlo's."""

    image_size: int = 64
    """Side of the picture, in pixels."""
    embed_dim: int = 768
    """Width of CLIP's text and image embeddings."""
    text_width: int = 768
    """Width of the text encoder's token states."""
    num_image_tokens: int = 4
    """Extra context tokens made from the image embedding (unCLIP section 2.1)."""
    learned_text_null: bool = False
    """A learned token stands for no text. Without it, as in Karlo, the empty prompt does."""
    unet: UNetConfig = field(
        default_factory=lambda: UNetConfig(
            out_channels=6, attention=(False, True, True, True), context_dim=1536
        )
    )
    diffusion: DiffusionConfig = field(
        default_factory=lambda: DiffusionConfig(
            prediction="eps", variance="learned_range", clip_x_start=1.0
        )
    )
    sampling: DecoderSampling = field(default_factory=DecoderSampling)

    def __post_init__(self) -> None:
        expected = 6 if self.diffusion.variance == "learned_range" else 3
        if self.unet.out_channels != expected:
            raise ConfigError(
                f"decoder: unet.out_channels is {self.unet.out_channels}, but a variance that is "
                f"{self.diffusion.variance} needs {expected}"
            )
        if self.unet.context_dim is None:
            raise ConfigError("decoder: unet.context_dim is missing; CLIP's tokens need a width")


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderRun:
    """One training run: `accelerate launch -m decoder.train --config FILE --out DIR`."""

    clip: str
    """Stage folder of the frozen CLIP."""
    images: str
    """Folder of captioned pictures."""
    model: DecoderConfig
    train: TrainConfig
    image_dropout: float = 0.1
    """Share of samples whose image embedding is replaced by the learned null (unCLIP section
    2.1)."""
    text_dropout: float = 0.5
    """Share of samples whose text is dropped, drawn independently of the image embedding."""
