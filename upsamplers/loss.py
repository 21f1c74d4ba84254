"""An upsampler's training loss: crops, shrunk, spoilt, noised, and painted large again."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unclip.diffusion.gaussian import q_sample
from unclip.diffusion.losses import diffusion_loss
from unclip.diffusion.schedules import Schedule
from unclip.training.draws import Draws
from upsamplers.augmentation import augment
from upsamplers.config import UpsamplerConfig
from upsamplers.degradation import blur, bsr, reduce_size
from upsamplers.model import enlarge


def upsampler_loss(
    model: nn.Module,
    config: UpsamplerConfig,
    schedule: Schedule,
    crops: Float[Tensor, "batch 3 height width"],
    draws: Draws,
    *,
    degradation: Literal["blur", "bsr"],
    max_augmentation: float,
    clean_share: float = 0.0,
) -> dict[str, Tensor]:
    """Noises crops in [-1, 1] to random times and scores the prediction from the spoilt small
    crop."""
    # The input is made in float32 whatever the network runs in.
    with torch.autocast(crops.device.type, enabled=False):
        clean_res = reduce_size(crops, config.factor)
        low_res = blur(clean_res) if degradation == "blur" else bsr(clean_res, draws)
        level = None
        if config.tells_augmentation:
            level = draws.uniform() * max_augmentation
            low_res = augment(low_res, level, draws.normal(low_res.shape[1:]))
        if clean_share:
            assert level is not None, "the configuration says so"
            clean = draws.bernoulli(clean_share)
            level = level.masked_fill(clean, 0.0)
            low_res = torch.where(clean[:, None, None, None], clean_res, low_res)
        low_res = enlarge(low_res, config.factor)

    t = draws.integers(schedule.num_timesteps)
    eps = draws.normal(crops.shape[1:])
    x_t = q_sample(schedule, crops, t, eps)
    output = model(x_t, t, low_res, level).float()
    loss = diffusion_loss(schedule, config.diffusion, output, crops, x_t, t, eps)
    return {"loss": loss.mean()}
