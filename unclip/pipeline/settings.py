"""The settings of one request: what was asked for, the model's defaults for the rest."""

import math
from collections.abc import Sequence
from typing import Any, TypedDict, TypeVar

from unclip.errors import InputError
from unclip.pipeline.registry import Components
from unclip.pipeline.requests import as_list, is_list, whole_number
from unclip.pipeline.stages import needed_prior
from unclip.provenance.record import Sampling
from upsamplers.model import Upsampler

T = TypeVar("T")


class Settings(TypedDict, total=False):
    """The settings of a call, under diffusers' names; None or absent takes the model's default."""

    size: int | None
    """Side in pixels."""
    num_inference_steps: int | None
    """Of the decoder, as `decoder_num_inference_steps`."""
    prior_num_inference_steps: int | None
    decoder_num_inference_steps: int | None
    super_res_num_inference_steps: int | Sequence[int] | None
    """Of every upsampler that runs, or of each."""
    guidance_scale: float | None
    """Of the decoder, as `decoder_guidance_scale`; 1 is none."""
    prior_guidance_scale: float | None
    decoder_guidance_scale: float | None


def resolve(settings: Settings, model: Components, *, with_prior: bool = True) -> Sampling:
    """Fills in the model's defaults.

    Raises:
        InputError: a size that the model does not paint, a number of steps or a scale that cannot
            be used, or two names of one setting with two values.
    """
    for key in settings:
        if key not in Settings.__annotations__:
            raise InputError(f"{key} is no setting: {', '.join(Settings.__annotations__)} are")
        if not with_prior and key.startswith("prior_") and settings.get(key) is not None:
            raise InputError(f"got {key}, but no prior runs here: leave it out")
    decoder = model.decoder.config
    sizes = sizes_of(model)
    size = _or(settings.get("size"), sizes[-1])
    if size not in sizes:
        raise InputError(f"size is {size!r}, this model paints {', '.join(map(str, sizes))}")
    steps = _decoder(settings, "num_inference_steps", decoder.sampling.num_steps)
    guidance = _decoder(settings, "guidance_scale", decoder.sampling.guidance_scale)
    running = model.upsamplers[: sizes.index(size)]
    super_res_steps = _super_res(settings, running)
    steps = _check_steps("decoder", steps, decoder.diffusion.num_timesteps)
    super_res_steps = tuple(
        _check_steps("super_res", count, upsampler.config.diffusion.num_timesteps)
        for count, upsampler in zip(super_res_steps, running, strict=True)
    )
    guidance = _check_scale("decoder", guidance)
    prior_steps, prior_guidance, candidates = None, None, None
    if with_prior:
        prior = needed_prior(model).config
        prior_steps = _or(settings.get("prior_num_inference_steps"), prior.sampling.num_steps)
        prior_steps = _check_steps("prior", prior_steps, prior.diffusion.num_timesteps)
        prior_guidance = _or(settings.get("prior_guidance_scale"), prior.sampling.guidance_scale)
        prior_guidance = _check_scale("prior", prior_guidance)
        candidates = prior.sampling.candidates
    return Sampling(
        size=size,
        prior_steps=prior_steps,
        prior_guidance=prior_guidance,
        candidates=candidates,
        decoder_steps=steps,
        decoder_guidance=guidance,
        sampler=decoder.sampling.sampler,
        super_res_steps=super_res_steps,
    )


def _super_res(settings: Settings, running: Sequence[Upsampler]) -> tuple[int, ...]:
    wish = settings.get("super_res_num_inference_steps")
    if wish is None:
        return tuple(upsampler.config.sampling.num_steps for upsampler in running)
    steps = tuple(as_list(wish) if is_list(wish) else as_list(wish) * len(running))
    if len(steps) != len(running):
        raise InputError(f"got super_res steps for {len(steps)} upsamplers, {len(running)} run")
    return steps


def sizes_of(model: Components) -> tuple[int, ...]:
    """The sizes that a model paints, in pixels a side, from the decoder's up."""
    return (
        model.decoder.config.image_size,
        *(upsampler.config.image_size for upsampler in model.upsamplers),
    )


def _or(wish: Any, default: T) -> T:
    return default if wish is None else wish


def _decoder(settings: Settings, name: str, default: T) -> T:
    """A setting of the decoder has two names: its own, and the one that all of diffusers shares."""
    generic, exact = settings.get(name), settings.get(f"decoder_{name}")
    if generic is not None and exact is not None and generic != exact:
        raise InputError(
            f"{name} is {generic} and decoder_{name} is {exact}: they are one setting, give one"
        )
    return _or(_or(generic, exact), default)


def _check_steps(stage: str, steps: Any, most: int) -> int:
    steps = whole_number(f"{stage} steps", steps)
    if not 1 <= steps <= most:
        raise InputError(f"{stage} steps are {steps}, expected 1 to {most}")
    return steps


def _check_scale(stage: str, scale: Any) -> float:
    try:
        if isinstance(scale, str):
            raise TypeError
        number = float(scale)
    except (TypeError, ValueError, RuntimeError):
        number = math.nan
    if not 0 <= number <= 1000:
        raise InputError(f"{stage} guidance is {scale!r}, expected 0 to 1000 (1 is none)")
    return number
