"""CLIP image embeddings (and text) to 64x64 pictures."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from decoder.model import Condition, Decoder
from unclip.clip.features import TextFeatures
from unclip.diffusion.affine import run_steps
from unclip.diffusion.denoiser import Denoiser, Network, Prepared
from unclip.diffusion.guidance import guide
from unclip.diffusion.noise import Noise
from unclip.diffusion.samplers import Callback
from unclip.diffusion.sampling import SamplerName
from unclip.diffusion.schedules import build_schedule, respace
from unclip.errors import ConfigError
from unclip.nn.fast import Run, fast
from unclip.nn.graphs import step_recorder
from unclip.nn.spatial_attention import Context


@torch.inference_mode()
def sample_images(
    decoder: Decoder,
    image_embed: Float[Tensor, "batch dim"],
    text: TextFeatures | None,
    null_text: TextFeatures | None = None,
    *,
    noise: Noise,
    num_steps: int | None = None,
    guidance_scale: float | None = None,
    sampler: SamplerName | None = None,
    guidance_interval: tuple[float, float] | None = None,
    eta: float = 0.0,
    callback: Callback | None = None,
    latents: Float[Tensor, "batch 3 height width"] | None = None,
) -> Float[Tensor, "batch 3 height width"]:
    """Samples pictures in [-1, 1] from image embeddings (neither normalised nor whitened).

    Args:
        text: the prompts' features; None paints from the embedding alone (variations).
        null_text: the empty prompt's features, for a decoder without a learned text null.
        num_steps, guidance_scale, sampler: None takes the checkpoint's defaults.
        guidance_interval: fractions of the time outside of which guidance is off; None as well.
        eta: noise of the DDIM sampler, 0 deterministic, 1 ancestral.
        latents: the first noise; None draws it.

    Raises:
        ConfigError: the decoder has no learned text null and `null_text` is missing.
    """
    defaults = decoder.config.sampling
    num_steps = defaults.num_steps if num_steps is None else num_steps
    scale = defaults.guidance_scale if guidance_scale is None else guidance_scale
    interval = defaults.guidance_interval if guidance_interval is None else guidance_interval

    schedule = build_schedule(decoder.config.diffusion)
    times = respace(schedule.num_timesteps, num_steps)
    both = _condition(decoder, image_embed, text, null_text, guided=scale != 1)

    size = decoder.config.image_size
    x = noise((3, size, size)) if latents is None else latents.float()
    x = x.to(image_embed.device)
    name, record = sampler or defaults.sampler, step_recorder(decoder)
    with fast(decoder.unet) as run:
        network = _network(decoder, run, both, len(x), times, scale, interval)
        denoiser = Denoiser(network, schedule, decoder.config.diffusion)
        x = run_steps(name, denoiser, x, times, noise, record, eta=eta, callback=callback)
    return x.clamp(-1, 1)


def _network(
    decoder: Decoder,
    run: Run,
    both: Condition,
    rows: int,
    times: Sequence[int],
    scale: float,
    interval: tuple[float, float] | None,
) -> Network:
    """Closes the network over its conditions: all that is constant over the steps, or known for
    each step."""
    steps = decoder.unet.modulations_of_steps(times, both.embed)
    context, dtype = both.context.sliced(), both.embed.dtype

    def call(x: Tensor, modulations: tuple[Tensor, ...], context: Context) -> Tensor:
        return run(x.to(dtype), modulations, context)

    def first(t: int) -> tuple[Tensor, ...]:
        return tuple(m[:rows] for m in steps[t])

    return guide(
        Prepared(call, first, context.first(rows)),
        Prepared(call, steps.__getitem__, context),
        scale,
        channels=3,
        interval=interval,
        num_timesteps=decoder.config.diffusion.num_timesteps,
    )


def _condition(
    decoder: Decoder,
    image_embed: Tensor,
    text: TextFeatures | None,
    null_text: TextFeatures | None,
    guided: bool,
) -> Condition:
    """Prepares [conditional; unconditional] rows, or the conditional ones alone."""
    rows, device = len(image_embed), image_embed.device
    learned = decoder.config.learned_text_null
    if not learned and null_text is None:
        raise ConfigError(
            "this decoder has no learned null for the text: pass the empty prompt's features "
            "as null_text"
        )
    if null_text is None:
        null_text = _blank(decoder, image_embed) if text is None else text[:1]
    null = null_text.for_rows(rows)
    present = null if text is None else text
    halves = 2 if guided else 1
    drop = torch.arange(halves * rows, device=device) >= rows
    drop_text = torch.ones_like(drop) if text is None else drop
    features = TextFeatures.cat([present, null]) if guided else present
    return decoder.condition(
        image_embed.repeat(halves, 1),
        features.embed,
        features.hidden,
        features.mask,
        drop,
        drop_text if learned else None,
    )


def _blank(decoder: Decoder, image_embed: Tensor) -> TextFeatures:
    """One row of features for a text that the learned null will replace."""
    config = decoder.config
    return TextFeatures(
        image_embed.new_zeros(1, config.embed_dim),
        image_embed.new_zeros(1, 1, config.text_width),
        torch.ones(1, 1, dtype=torch.bool, device=image_embed.device),
    )
