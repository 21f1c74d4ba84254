"""The prior's training loss: mean squared error on the whitened x_start (unCLIP section 2.2)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from prior.config import PriorConfig
from unclip.clip.features import TextFeatures
from unclip.diffusion.gaussian import q_sample
from unclip.diffusion.losses import diffusion_loss
from unclip.diffusion.schedules import Schedule
from unclip.training.draws import Draws


def prior_loss(
    model: nn.Module,
    config: PriorConfig,
    schedule: Schedule,
    x_start: Float[Tensor, "batch dim"],
    text: TextFeatures,
    draws: Draws,
    draws_per_caption: int = 1,
) -> dict[str, Tensor]:
    """Noises whitened embeddings to random times and scores the prediction.

    Each embedding is noised `draws_per_caption` times, with times and noise of their own, and its
    text is run once for all of them. Returns the mean loss and, to watch, the cosine between
    prediction and truth.
    """
    drawn = [
        (draws.integers(schedule.num_timesteps), draws.normal(x_start.shape[1:]))
        for _ in range(draws_per_caption)
    ]
    # A caption's draws are neighbours.
    t, eps = (torch.stack(each, dim=1).flatten(0, 1) for each in zip(*drawn, strict=True))
    x_start = x_start.repeat_interleave(draws_per_caption, 0)
    x_t = q_sample(schedule, x_start, t, eps)
    output = model(x_t, t, text.embed, text.hidden, text.mask).float()
    loss = diffusion_loss(schedule, config.diffusion, output, x_start, x_t, t, eps).mean()
    cosine = nn.functional.cosine_similarity(output.detach(), x_start).mean()
    return {"loss": loss, "cosine": cosine}
