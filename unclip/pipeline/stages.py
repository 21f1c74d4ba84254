"""One function a stage: moves to its device and precision, runs it, and watches for overflow.

CLIP always runs in float32. Decoder and upsamplers run in the precision asked for, and so does a
prior that draws one candidate; a choice between two that are nearly alike must not hang on rounding
(`unclip.pipeline.devices.prior_dtype`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from decoder.sample import sample_images
from prior.autoregressive import AutoregressivePrior
from prior.autoregressive_sample import sample_codes
from prior.kinds import AnyPrior
from prior.sample import sample_image_embed
from unclip.clip.features import TextFeatures
from unclip.diffusion.noise import Noise
from unclip.diffusion.samplers import Callback
from unclip.diffusion.sampling import SamplerName
from unclip.errors import InputError
from unclip.nn.residency import summon
from unclip.nn.spatial_attention import SpatialAttention
from unclip.nn.transformer import Attention
from unclip.pipeline.devices import exact_kernels, prior_dtype
from unclip.pipeline.finite import check_finite, watch
from unclip.pipeline.registry import Components
from upsamplers.model import Upsampler
from upsamplers.sample import upsample


@torch.inference_mode()
def encode_text(model: Components, prompts: Sequence[str]) -> TextFeatures:
    """Encodes each prompt alone, so that its numbers never depend on its neighbours."""
    summon(model.clip.text)
    text = TextFeatures.cat([model.clip.encode_text([prompt]) for prompt in prompts])
    check_finite(text.hidden, "clip")
    return text


@torch.inference_mode()
def encode_image(
    model: Components, images: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch dim"]:
    """Encodes pictures in [-1, 1], each alone."""
    if not model.clip.config.text_only:
        summon(model.clip.image)
    embed = torch.cat([model.clip.encode_image(image[None].float()) for image in images])
    check_finite(embed, "clip")
    return embed


def run_prior(
    model: Components,
    text: TextFeatures,
    null_text: TextFeatures | None = None,
    *,
    noise: Noise,
    num_steps: int | None = None,
    guidance_scale: float | None = None,
    callback: Callback | None = None,
    latents: Tensor | None = None,
) -> Float[Tensor, "batch dim"]:
    """Samples image embeddings for texts; they are float32 in any precision.

    The empty prompt's features are encoded if they are not given.

    Raises:
        InputError: the model has no prior, or an autoregressive one, which begins from no latents.
    """
    prior = needed_prior(model)
    null_text = null_text if null_text is not None else encode_text(model, [""])
    summon(prior)
    if isinstance(prior, AutoregressivePrior):
        _refuse_latents(latents)
        with _watched(prior.to_logits, "prior"):
            return sample_codes(
                prior,
                text,
                null_text,
                noise=noise,
                guidance_scale=guidance_scale,
                callback=callback,
            )
    with _watched(prior.proj_to_clip_embeddings, "prior"):
        return sample_image_embed(
            prior,
            text,
            null_text,
            noise=noise,
            num_steps=num_steps,
            guidance_scale=guidance_scale,
            callback=callback,
            latents=latents,
        )


def _refuse_latents(latents: Tensor | None) -> None:
    if latents is not None:
        raise InputError(
            "got prior_latents, but this model's prior is autoregressive and begins from none: "
            "leave them out"
        )


def run_decoder(
    model: Components,
    image_embed: Float[Tensor, "batch dim"],
    text: TextFeatures | None,
    null_text: TextFeatures | None = None,
    *,
    noise: Noise,
    num_steps: int | None = None,
    guidance_scale: float | None = None,
    sampler: SamplerName | None = None,
    guidance_interval: tuple[float, float] | None = None,
    callback: Callback | None = None,
    latents: Tensor | None = None,
) -> Float[Tensor, "batch 3 height width"]:
    """Paints small pictures in [-1, 1] from image embeddings, and texts if there are any.

    Raises:
        InputError: the embeddings are not the model's, or not as many as the texts.
    """
    dim = model.decoder.config.embed_dim
    if image_embed.dim() != 2 or image_embed.shape[1] != dim:
        got = tuple(image_embed.shape)
        raise InputError(f"got image embeddings of shape {got}, expected (batch, {dim})")
    if text is not None and len(text) != len(image_embed):
        raise InputError(f"got {len(text)} texts for {len(image_embed)} embeddings: give one each")
    null_text = null_text if null_text is not None else encode_text(model, [""])
    summon(model.decoder)
    weight = model.decoder.unet.conv_in.weight
    with _watched(model.decoder.unet, "decoder"):
        return sample_images(
            model.decoder,
            image_embed.to(weight.device, weight.dtype),
            None if text is None else text.to(weight.device, weight.dtype),
            null_text.to(weight.device, weight.dtype),
            noise=noise,
            num_steps=num_steps,
            guidance_scale=guidance_scale,
            sampler=sampler,
            guidance_interval=guidance_interval,
            callback=callback,
            latents=latents,
        )


def run_upsampler(
    upsampler: Upsampler,
    images: Float[Tensor, "batch 3 height width"],
    *,
    noise: Noise,
    num_steps: int | None = None,
    sampler: SamplerName | None = None,
    start: float = 1.0,
    callback: Callback | None = None,
    latents: Tensor | None = None,
) -> Float[Tensor, "batch 3 large_height large_width"]:
    """Enlarges pictures in [-1, 1]; `start` as `upsample` has it."""
    summon(upsampler.unet)
    device = upsampler.unet.conv_in.weight.device
    name = stage_name(upsampler)
    with _watched(upsampler.unet, name), watch(upsampler.network(last=True), name):
        return upsample(
            upsampler,
            images.to(device).float(),
            noise=noise,
            num_steps=num_steps,
            sampler=sampler,
            start=start,
            callback=callback,
            latents=latents,
        )


def move_prior(prior: AnyPrior, device: torch.device, dtype: torch.dtype) -> None:
    """Moves a prior, in the precision that `prior_dtype` gives it; statistics of pictures stay in
    float32."""
    prior.to(device)
    precision = prior_dtype(prior.config.sampling.candidates, dtype)
    for parameter in prior.parameters():
        parameter.data = parameter.data.to(precision)


def lay_out(model: Components) -> None:
    """Lays weights out in memory as a GPU reads them fastest: those of convolutions with channels
    last, an attention's three projections side by side."""
    for network in (model.prior, model.decoder, *model.upsamplers):
        if network is None:
            continue
        network.to(memory_format=torch.channels_last)
        for module in network.modules():
            if isinstance(module, Attention | SpatialAttention):
                module.join()


def needed_prior(model: Components) -> AnyPrior:
    """Returns the prior.

    Raises:
        InputError: the model has none.
    """
    if model.prior is None:
        raise InputError(
            "this model makes variations of pictures alone, it has no prior: give it a picture, or "
            "take a model of text to image, kakaobrain/karlo-v1-alpha for instance"
        )
    return model.prior


@contextmanager
def _watched(network: nn.Module, stage: str) -> Iterator[None]:
    """Runs a stage with kernels that keep its precision, and watches for overflow."""
    weight = next(network.parameters())
    with exact_kernels(weight.device, weight.dtype), watch(network, stage):
        yield


def find_upsampler(model: Components, images: Tensor) -> Upsampler:
    """Returns the upsampler for pictures of this size.

    Raises:
        InputError: there is none, or these are no square pictures.
    """
    if images.dim() != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise InputError(
            f"got pictures of shape {tuple(images.shape)}, expected (batch, 3, size, size)"
        )
    size = images.shape[-1]
    for upsampler in model.upsamplers:
        if upsampler.config.low_size == size:
            return upsampler
    takes = ", ".join(str(upsampler.config.low_size) for upsampler in model.upsamplers) or "none"
    raise InputError(f"pictures are {size} px, this model's upsamplers take {takes}")


def stage_name(upsampler: Upsampler) -> str:
    """The upsampler's name in progress, noise and errors."""
    return f"upsampler_{upsampler.config.image_size}"
