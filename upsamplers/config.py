"""What an upsampler is, how it samples by default, and what a training run of it needs."""

import math
from dataclasses import dataclass, field
from typing import Literal

from unclip.config import BELOW_ONE, INF, check_ranges
from unclip.diffusion.sampling import SamplerName
from unclip.diffusion.schedules import DiffusionConfig
from unclip.errors import ConfigError
from unclip.nn.unet import UNetConfig
from unclip.training.pictures import Source
from unclip.training.settings import TrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class UpsamplerSampling:
    """Defaults of `upsample`."""

    num_steps: int = 7
    sampler: SamplerName = "ddpm"
    augmentation: float = 0.0
    """Noise put on the low-resolution input, and told to the network, in [0, 1)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UpsamplerConfig:
    """The network; the defaults are Karlo's 64 -> 256."""

    low_size: int = 64
    """Side of the input picture, in pixels."""
    image_size: int = 256
    """Side of the output picture, in pixels."""
    tells_augmentation: bool = False
    """The network is told how much noise was put on the low-resolution input."""
    unet: UNetConfig = field(
        default_factory=lambda: UNetConfig(
            in_channels=6,
            attention=(False, False, False, False),
            context_dim=None,
            scale_shift=False,
        )
    )
    diffusion: DiffusionConfig = field(
        default_factory=lambda: DiffusionConfig(prediction="eps", clip_x_start=1.0)
    )
    sampling: UpsamplerSampling = field(default_factory=UpsamplerSampling)
    last_network: bool = False
    """A second network of the same shape makes the last step, as Karlo's does, which was tuned with
    adversarial and perceptual losses."""

    def __post_init__(self) -> None:
        check_ranges(self, "upsampler: ", low_size=(1, INF), image_size=(1, INF))
        check_ranges(
            self.sampling,
            "upsampler: sampling.",
            num_steps=(1, self.diffusion.num_timesteps),
            augmentation=(0, BELOW_ONE),
        )
        if self.image_size % self.low_size:
            raise ConfigError(
                f"upsampler: image_size {self.image_size} is no multiple of low_size "
                f"{self.low_size}"
            )
        if self.unet.in_channels != 6 or self.unet.out_channels != 3 or any(self.unet.attention):
            raise ConfigError(
                "upsampler: the network takes 6 channels (noised picture, low-resolution picture), "
                "gives 3 and has no attention (unCLIP section 2.1)"
            )
        if self.unet.positions:
            raise ConfigError(
                "upsampler: unet.positions must be 0: the network is trained on crops and run whole"
            )
        if self.last_network and self.tells_augmentation:
            raise ConfigError(
                "upsampler: a last_network is told no augmentation: set one of them to false"
            )
        if self.sampling.augmentation and not self.tells_augmentation:
            raise ConfigError(
                "upsampler: sampling.augmentation needs a network with tells_augmentation: true"
            )

    @property
    def factor(self) -> int:
        """How many times larger the output is."""
        return self.image_size // self.low_size


@dataclass(frozen=True, kw_only=True, slots=True)
class UpsamplerRun:
    """One training run: `accelerate launch -m upsamplers.train --config FILE --out DIR`."""

    images: Source
    """Folder of captioned pictures, from which random crops are taken, never resized; or scenes,
    rendered at the network's size."""
    crop_px: int
    """Side of a training crop in output pixels; the network is convolutional and runs at any
    size."""
    degradation: Literal["blur", "bsr"]
    """How the low-resolution input is corrupted: `blur` for the first upsampler, `bsr` for the
    second."""
    model: UpsamplerConfig
    train: TrainConfig
    max_augmentation: float = 0.5
    """Largest noise level put on the low-resolution input; each sample's is uniform below it."""
    clean_share: float = 0.0
    """Of samples whose small picture is not corrupted at all, and told so by the level 0: then
    level 0 asks for a true enlargement, any other for one that forgives the stage before."""
    caption: str = ""
    """Said of pictures of a folder that have no caption; no text is looked at."""

    def __post_init__(self) -> None:
        check_ranges(self, "upsampler: ", crop_px=(1, INF), max_augmentation=(0, BELOW_ONE))
        check_ranges(self, "upsampler: ", clean_share=(0, 1))
        if self.clean_share and not self.model.tells_augmentation:
            raise ConfigError(
                "upsampler: clean_share needs a network with tells_augmentation: true"
            )
        step = math.lcm(self.model.factor, self.model.unet.stride)
        if self.crop_px % step:
            raise ConfigError(f"upsampler: crop_px {self.crop_px} is no multiple of {step}")
        if self.model.sampling.augmentation > self.max_augmentation:
            raise ConfigError(
                f"upsampler: model.sampling.augmentation {self.model.sampling.augmentation} is "
                f"above max_augmentation {self.max_augmentation}, so it would never be trained"
            )
        if self.model.last_network and self.train.start_from is None:
            raise ConfigError(
                "upsampler: a last_network is not trained here: set model.last_network to false, "
                "or train.start_from to the stage that it is kept from"
            )
        if self.model.unet.extra_channels:
            raise ConfigError(
                "upsampler: training feeds no extra channels: set model.unet.extra_channels to 0"
            )
