"""A request, batch after batch: embeddings, small pictures, larger ones, handed out when done."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unclip.clip.features import TextFeatures
from unclip.diffusion.samplers import Callback, Step
from unclip.errors import CancelledError, InputError
from unclip.nn.residency import comes_and_goes
from unclip.pipeline.finite import check_finite
from unclip.pipeline.given import Latents
from unclip.pipeline.output import Picture
from unclip.pipeline.prefetch import prefetched
from unclip.pipeline.registry import Components
from unclip.pipeline.requests import whole_number
from unclip.pipeline.seeds import Randomness
from unclip.pipeline.settings import check_sampler
from unclip.pipeline.stages import encode_text, run_decoder, run_prior, run_upsampler, stage_name
from unclip.provenance.record import Sampling


class Embedded(NamedTuple):
    """What the decoder paints from."""

    image_embed: Float[Tensor, "batch dim"]
    text: TextFeatures | None = None
    null_text: TextFeatures | None = None
    """The empty prompt's, where it was encoded already."""


Embed = Callable[[slice, Randomness], Embedded]
"""Rows of the request and their randomness to what they are painted from."""
Observe = Callable[[str], Callback]
"""A stage's name to what its sampler calls after every step."""
StepEnd = Callable[[Any, int, int, dict[str, Any]], dict[str, Any] | None]
"""diffusers' `callback_on_step_end(pipe, step, timestep, kwargs) -> dict`."""
STEP_TENSORS = ("latents",)
"""What `kwargs` may hold, beside the stage's name."""

MAX_BATCH = 8
MAX_CPU_PIXELS = 2**20


def batch_limit(device: torch.device, size: int, wish: int | None) -> int:
    """How many pictures are made at a time, so that memory is bounded and some are finished soon.

    On a CPU large pictures are not made faster together.

    Raises:
        InputError: `wish` is less than one.
    """
    if wish is not None:
        wish = whole_number("batch_size", wish)
        if wish < 1:
            raise InputError(f"batch_size is {wish}, expected 1 or more")
        return wish
    return MAX_BATCH if device.type != "cpu" else max(1, min(MAX_BATCH, MAX_CPU_PIXELS // size**2))


@dataclass(frozen=True)
class Request:
    """Pictures to make."""

    embed: Embed
    randomness: Randomness
    sampling: Sampling
    observe: Observe
    prompts: Sequence[str] | None
    """One a picture, where there are prompts."""
    batch_size: int
    """Most pictures made at a time."""
    latents: Latents = field(default_factory=Latents)


def paint(model: Components, request: Request) -> Iterator[Picture]:
    """Makes the pictures of a request, batch after batch.

    Raises:
        NumericalError: a stage gave values that are not finite.
        CancelledError: `observe` stopped it.
    """
    randomness, prompts = request.randomness, request.prompts
    step = request.batch_size if randomness.divisible else randomness.count
    for start in range(0, randomness.count, step):
        rows = slice(start, min(start + step, randomness.count))
        part = randomness.part(rows)
        with _read_ahead([model.decoder]):
            embedded = request.embed(rows, part)
        pixels = _pixels(model, embedded, part, request, request.latents.part(rows))
        for i in range(part.count):
            yield Picture(
                index=start + i,
                pixels=pixels[i],
                image_embed=embedded.image_embed[i].float().cpu(),
                prompt=None if prompts is None else prompts[start + i],
                seed=None if part.seeds is None else part.seeds[i],
                batch_size=part.count,
                batch_index=i,
            )


def prior_embeds(
    model: Components,
    prompts: Sequence[str] | TextFeatures,
    sampling: Sampling,
    observe: Observe,
    latents: Latents,
) -> Embed:
    """Returns what makes image embeddings of prompts, or of their features: CLIP's text tower and
    the prior."""

    def embed(rows: slice, part: Randomness) -> Embedded:
        given = prompts[rows]
        text = given if isinstance(given, TextFeatures) else encode_text(model, given)
        null_text = encode_text(model, [""])
        image_embed = run_prior(
            model,
            text,
            null_text,
            noise=part.noise("prior"),
            num_steps=sampling.prior_steps,
            guidance_scale=sampling.prior_guidance,
            callback=observe("prior"),
            latents=latents.part(rows).prior,
        )
        return Embedded(image_embed, text, null_text)

    return embed


def _pixels(
    model: Components,
    embedded: Embedded,
    part: Randomness,
    request: Request,
    latents: Latents,
) -> Float[Tensor, "batch 3 height width"]:
    """Runs the decoder and the upsamplers on one batch; gives values in [0, 1] on the CPU."""
    sampling, observe = request.sampling, request.observe
    upsamplers = model.upsamplers[: len(sampling.super_res_steps)]
    with _read_ahead(upsamplers[:1]):
        images = run_decoder(
            model,
            *embedded,
            noise=part.noise("decoder"),
            num_steps=sampling.decoder_steps,
            guidance_scale=sampling.decoder_guidance,
            sampler=check_sampler(sampling.sampler),
            guidance_interval=sampling.guidance_interval,
            callback=observe("decoder"),
            latents=latents.decoder,
        )
    first = latents.super_res
    for index, upsampler in enumerate(upsamplers):
        stage = stage_name(upsampler)
        with _read_ahead(upsamplers[index + 1 : index + 2]):
            images = run_upsampler(
                upsampler,
                images,
                noise=part.noise(stage),
                num_steps=sampling.super_res_steps[index],
                sampler=check_sampler(sampling.super_res_samplers[index]),
                start=sampling.super_res_starts[index],
                callback=observe(stage),
                latents=first,
            )
        first = None
    check_finite(images, "picture")
    return ((images.float().clamp(-1, 1) + 1) / 2).cpu()


def _read_ahead(networks: Sequence[nn.Module]) -> AbstractContextManager[None]:
    """Reads the files of networks that run next, but of those that take turns."""
    return prefetched([network for network in networks if not comes_and_goes(network)])


def observer(pipe: Any, callback: StepEnd | None, tensors: Sequence[str] = STEP_TENSORS) -> Observe:
    """Wraps a callback of diffusers' form.

    Its `kwargs` are `stage` and the `tensors`: `latents`, which it may return changed. Setting
    `pipe._interrupt` stops after the step.

    Raises:
        InputError: there is no such tensor.
    """
    for name in tensors:
        if name not in STEP_TENSORS:
            raise InputError(
                f"callback_on_step_end_tensor_inputs names {name!r}: only latents are handed out"
            )

    def observe(stage: str) -> Callback:
        def look(step: Step) -> Tensor | None:
            answer = None
            if callback is not None:
                values = {"stage": stage} | dict.fromkeys(tensors, step.x_t)
                answer = callback(pipe, step.index, step.t, values)
            if pipe._interrupt:
                raise CancelledError(f"stopped in the stage {stage}")
            return (answer or {}).get("latents")

        return look

    return observe
