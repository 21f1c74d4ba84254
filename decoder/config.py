"""What a decoder is, how it samples by default, and what a training run of it needs."""

from dataclasses import dataclass, field

from unclip.config import INF, check_ranges
from unclip.diffusion.sampling import SamplerName
from unclip.diffusion.schedules import DiffusionConfig
from unclip.errors import ConfigError
from unclip.nn.unet import UNetConfig
from unclip.training.pictures import Source
from unclip.training.settings import TrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderSampling:
    """Defaults of `sample_images`."""

    num_steps: int = 25
    guidance_scale: float = 8.0
    """Classifier-free guidance; 1 is none."""
    guidance_interval: tuple[float, float] | None = None
    """Fractions of the time, in [0, 1], outside of which guidance is off (arXiv 2404.07724); None
    for everywhere."""
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
    text_layers: int = 0
    """Transformer blocks over CLIP's token states, as wide as `unet.context_dim`, before the U-Net
    reads them: GLIDE's own text path, which the paper keeps (section 2.1). Karlo has none."""
    text_heads: int = 32
    """Of those blocks; they divide `unet.context_dim`."""
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
        if self.unet.in_channels != 3:
            raise ConfigError(f"decoder: unet.in_channels is {self.unet.in_channels}, expected 3")
        check_ranges(
            self,
            "decoder: ",
            image_size=(1, INF),
            embed_dim=(1, INF),
            text_width=(1, INF),
            num_image_tokens=(1, INF),
            text_layers=(0, INF),
            text_heads=(1, INF),
        )
        if self.text_layers and self.unet.context_dim % self.text_heads:
            raise ConfigError(
                f"decoder: text_heads {self.text_heads} do not divide unet.context_dim "
                f"{self.unet.context_dim}: change one of them"
            )
        if self.image_size % self.unet.stride:
            raise ConfigError(
                f"decoder: image_size {self.image_size} is no multiple of {self.unet.stride}, what "
                "the levels and unshuffle divide it by"
            )
        side = self.image_size // self.unet.unshuffle
        if self.unet.positions not in (0, side):
            raise ConfigError(
                f"decoder: unet.positions is {self.unet.positions}, expected 0 or {side}: "
                "image_size over unshuffle"
            )
        check_ranges(
            self.sampling,
            "decoder: sampling.",
            num_steps=(1, self.diffusion.num_timesteps),
            guidance_scale=(0, INF),
        )
        low, high = self.sampling.guidance_interval or (0, 1)
        if not 0 <= low < high <= 1:
            raise ConfigError(
                f"decoder: sampling.guidance_interval is {[low, high]}, expected two numbers that "
                "grow, in [0, 1]"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderRun:
    """One training run: `accelerate launch -m decoder.train --config FILE --out DIR`."""

    clip: str
    """Stage folder of the frozen CLIP."""
    images: Source
    """Folder of captioned pictures, or scenes."""
    model: DecoderConfig
    train: TrainConfig
    image_dropout: float = 0.1
    """Share of samples whose image embedding is replaced by the learned null (unCLIP section
    2.1)."""
    text_dropout: float = 0.5
    """Share of samples whose text is dropped, drawn independently of the image embedding."""
    caption: str | None = None
    """Said of pictures of a folder that have no caption; None leaves them out."""
    clip_px: int | None = None
    """Side in pixels at which CLIP sees the pictures, before they are shrunk for the decoder; None
    is the decoder's own."""

    def __post_init__(self) -> None:
        check_ranges(self, "decoder: ", image_dropout=(0, 1), text_dropout=(0, 1))
        check_ranges(self, "decoder: ", clip_px=(self.model.image_size, INF))
        if self.model.unet.extra_channels:
            raise ConfigError(
                "decoder: training feeds no extra channels yet: set model.unet.extra_channels to 0"
            )
