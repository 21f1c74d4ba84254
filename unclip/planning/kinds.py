"""The stage that a run's file is of, and its network on the meta device with a batch for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional

from decoder.config import DecoderConfig, DecoderRun
from decoder.model import Decoder
from prior.autoregressive import AutoregressivePrior
from prior.autoregressive_config import AutoregressiveConfig, AutoregressiveRun
from prior.config import PriorConfig, PriorRun
from prior.model import Prior
from unclip.config import load_config
from unclip.errors import ConfigError
from unclip.nn.initialise import NoFirstWeights
from unclip.training.settings import TrainConfig
from upsamplers.config import UpsamplerRun
from upsamplers.model import Upsampler

TEXT_TOKENS = 77
"""Of CLIP, where neither a file nor the caller says."""
PICTURE_SIDE = 256
"""Pixels of the pictures of a data set whose stage looks at smaller ones: CLIP sees them, too."""


@dataclass(frozen=True)
class Planned:
    """A run that is looked at before it is begun."""

    kind: str
    """prior, decoder or upsampler."""
    train: TrainConfig
    network: nn.Module
    """On the meta device."""
    loss: Callable[[int], Tensor]
    """A scalar of a batch of so many samples, on the meta device."""
    sample_bytes: float
    """Of one sample as it is stored."""
    clip: str | None
    """Folder of the frozen CLIP that stands beside it."""

    @property
    def parameters(self) -> int:
        """That are trained."""
        return sum(p.numel() for p in self.network.parameters())


def open_run(path: Path, overrides: Sequence[str] = (), text_tokens: int = TEXT_TOKENS) -> Planned:
    """Reads a run's file, whichever stage it is of.

    Args:
        text_tokens: of a caption, for a stage whose file does not say.

    Raises:
        ConfigError: it cannot be read, is wrong, or is of no stage that can be planned.
    """
    kind = _kind(path)
    config_cls, build = _KINDS[kind]
    config = load_config(config_cls, path, overrides)
    return build(config, text_tokens)


def _kind(path: Path) -> str:
    """Tells the stages apart by the keys that only one of them has."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    model = data.get("model") if isinstance(data, dict) else None
    if not isinstance(model, dict) or "train" not in data:
        raise ConfigError(f"{path} is no training run: it needs the keys model and train")
    if "unet" in model:
        return "upsampler" if "crop_px" in data else "decoder"
    if "num_codes" in model:
        return "autoregressive"
    if "num_heads" in model:
        return "prior"
    raise ConfigError(
        f"{path} is of no stage that can be planned: expected a prior, decoder or upsampler"
    )


def _prior(run: PriorRun, text_tokens: int) -> Planned:
    config = run.model
    network = _on_meta(Prior, config)

    def loss(batch: int) -> Tensor:
        embed, tokens = (batch, config.embed_dim), config.context_length
        out = network(
            torch.empty(embed),
            torch.zeros(batch, dtype=torch.long),
            torch.empty(embed),
            torch.empty(batch, tokens, config.text_width),
            torch.ones(batch, tokens, dtype=torch.bool),
        )
        return out.float().square().mean()

    return Planned("prior", run.train, network, _meta(loss), _embedding_bytes(config), run.clip)


def _autoregressive(run: AutoregressiveRun, text_tokens: int) -> Planned:
    config = run.model
    network = _on_meta(AutoregressivePrior, config)

    def loss(batch: int) -> Tensor:
        tokens = config.context_length
        codes = torch.zeros(batch, config.num_codes, dtype=torch.long)
        logits = network(
            torch.empty(batch, config.embed_dim),
            torch.empty(batch, tokens, config.text_width),
            torch.ones(batch, tokens, dtype=torch.bool),
            codes[:, 0],
            codes,
        ).float()
        return functional.cross_entropy(logits.flatten(0, 1), codes.flatten())

    return Planned("prior", run.train, network, _meta(loss), _embedding_bytes(config), run.clip)


def _embedding_bytes(config: PriorConfig | AutoregressiveConfig) -> float:
    """An image embedding and a text embedding in float16, and a caption."""
    return 2 * 2 * config.embed_dim + CAPTION_BYTES


def _decoder(run: DecoderRun, text_tokens: int) -> Planned:
    config: DecoderConfig = run.model
    network = _on_meta(Decoder, config)

    def loss(batch: int) -> Tensor:
        nobody = torch.zeros(batch, dtype=torch.bool)
        out = network(
            torch.empty(batch, 3, config.image_size, config.image_size),
            torch.zeros(batch, dtype=torch.long),
            torch.empty(batch, config.embed_dim),
            torch.empty(batch, config.embed_dim),
            torch.empty(batch, text_tokens, config.text_width),
            torch.ones(batch, text_tokens, dtype=torch.bool),
            nobody,
            nobody if config.learned_text_null else None,
        )
        return out.float().square().mean()

    stored = _picture_bytes(config.image_size) + CAPTION_BYTES
    return Planned("decoder", run.train, network, _meta(loss), stored, run.clip)


def _upsampler(run: UpsamplerRun, text_tokens: int) -> Planned:
    config, side = run.model, run.crop_px
    network = _on_meta(Upsampler, config)

    def loss(batch: int) -> Tensor:
        level = torch.empty(batch) if config.tells_augmentation else None
        crops = torch.empty(batch, 3, side, side)
        out = network(crops, torch.zeros(batch, dtype=torch.long), torch.empty_like(crops), level)
        return out.float().square().mean()

    stored = _picture_bytes(config.image_size)
    return Planned("upsampler", run.train, network, _meta(loss), stored, None)


_KINDS: dict[str, tuple[type[Any], Callable[[Any, int], Planned]]] = {
    "prior": (PriorRun, _prior),
    "autoregressive": (AutoregressiveRun, _autoregressive),
    "decoder": (DecoderRun, _decoder),
    "upsampler": (UpsamplerRun, _upsampler),
}

CAPTION_BYTES = 100.0
BYTES_PER_PIXEL = 0.3
"""Of a photograph as JPEG of quality 90, about."""


def _picture_bytes(image_size: int) -> float:
    return BYTES_PER_PIXEL * max(PICTURE_SIDE, image_size) ** 2


def _on_meta(build: Callable[[Any], nn.Module], config: Any) -> nn.Module:
    with NoFirstWeights(), torch.device("meta"):
        return build(config).train()


def _meta(loss: Callable[[int], Tensor]) -> Callable[[int], Tensor]:
    return partial(_call, loss)


def _call(loss: Callable[[int], Tensor], batch: int) -> Tensor:
    with torch.device("meta"):
        return loss(batch)
