"""The decoder's training loss, with the condition dropped per sample so that guidance can work."""

from jaxtyping import Float
from torch import Tensor, nn

from decoder.config import DecoderConfig
from unclip.clip.features import TextFeatures
from unclip.diffusion.gaussian import q_sample
from unclip.diffusion.losses import diffusion_loss
from unclip.diffusion.schedules import Schedule
from unclip.training.draws import Draws


def decoder_loss(
    model: nn.Module,
    config: DecoderConfig,
    schedule: Schedule,
    images: Float[Tensor, "batch 3 height width"],
    image_embed: Float[Tensor, "batch dim"],
    text: TextFeatures,
    null_text: TextFeatures,
    draws: Draws,
    *,
    image_dropout: float,
    text_dropout: float,
) -> dict[str, Tensor]:
    """Noises pictures in [-1, 1] to random times and scores the prediction.

    The image embedding and the text are dropped independently (unCLIP section 2.1: 10 % and 50 %).
    Without a learned text null the empty prompt's features, `null_text`, stand for no text.
    """
    t = draws.integers(schedule.num_timesteps)
    eps = draws.normal(images.shape[1:])
    drop_image = draws.bernoulli(image_dropout)
    drop_text = draws.bernoulli(text_dropout)
    x_t = q_sample(schedule, images, t, eps)
    if not config.learned_text_null:
        text, drop_text = text.replace(null_text, drop_text), None
    output = model(
        x_t, t, image_embed, text.embed, text.hidden, text.mask, drop_image, drop_text
    ).float()
    loss = diffusion_loss(schedule, config.diffusion, output, images, x_t, t, eps)
    return {"loss": loss.mean()}
