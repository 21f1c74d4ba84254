"""The settings of one request: what was asked for, the model's defaults for the rest."""

import math
from collections.abc import Sequence
from typing import Any, TypedDict, TypeVar, cast, get_args

from prior.autoregressive_config import AutoregressiveConfig
from prior.config import PriorConfig
from unclip.diffusion.sampling import SamplerName
from unclip.diffusion.schedules import times_below
from unclip.errors import InputError
from unclip.pipeline.quality import preset
from unclip.pipeline.registry import Components
from unclip.pipeline.requests import as_list, is_list, whole_number
from unclip.pipeline.stages import needed_prior
from unclip.provenance.record import Sampling
from upsamplers.model import Upsampler

T = TypeVar("T")

SAMPLERS = get_args(SamplerName)


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
    quality: str | None
    """`draft`, `standard` or `best`: a set of the settings below and above; those given win."""
    sampler: str | None
    """Of the decoder: `ddpm`, `ddim` or `dpmpp_2m`."""
    guidance_interval: Sequence[float] | None
    """Fractions of the time, low and high, outside of which the decoder is not guided."""
    super_res_sampler: str | Sequence[str] | None
    """Of every upsampler that runs, or of each."""
    super_res_start: float | Sequence[float] | None
    """Fraction of the time, in (0, 1], at which the upsamplers begin: below 1 from the enlarged
    picture and noise, in place of noise alone."""


def resolve(settings: Settings, model: Components, *, with_prior: bool = True) -> Sampling:
    """Fills in the model's defaults.

    Raises:
        InputError: a size that the model does not paint, a number of steps, a scale or another
            setting that cannot be used, or two names of one setting with two values.
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
    running = model.upsamplers[: sizes.index(size)]
    settings = _with_quality(settings, model, running, with_prior=with_prior)
    steps = _decoder(settings, "num_inference_steps", decoder.sampling.num_steps)
    guidance = _decoder(settings, "guidance_scale", decoder.sampling.guidance_scale)
    guidance = _check_scale("decoder", guidance)
    prior_steps, prior_guidance, candidates = None, None, None
    if with_prior:
        prior = needed_prior(model).config
        prior_steps = _prior_steps(settings.get("prior_num_inference_steps"), prior)
        prior_guidance = _or(settings.get("prior_guidance_scale"), prior.sampling.guidance_scale)
        prior_guidance = _check_scale("prior", prior_guidance)
        candidates = prior.sampling.candidates
    return Sampling(
        size=size,
        prior_steps=prior_steps,
        prior_guidance=prior_guidance,
        candidates=candidates,
        decoder_steps=_check_steps("decoder", steps, decoder.diffusion.num_timesteps),
        decoder_guidance=guidance,
        sampler=check_sampler(_or(settings.get("sampler"), decoder.sampling.sampler)),
        guidance_interval=_interval(settings, guidance, decoder.sampling.guidance_interval),
        **_super_res(settings, running),
    )


def _prior_steps(given: int | None, prior: PriorConfig | AutoregressiveConfig) -> int:
    """Of a diffusion prior as many as are asked for, of an autoregressive one as it has codes."""
    if isinstance(prior, PriorConfig):
        steps = _or(given, prior.sampling.num_steps)
        return _check_steps("prior", steps, prior.diffusion.num_timesteps)
    if given not in (None, prior.num_codes):
        raise InputError(
            f"prior steps are {given!r}, but this model's prior is autoregressive and takes one "
            f"for each of its {prior.num_codes} codes: leave them out"
        )
    return prior.num_codes


def _with_quality(
    settings: Settings, model: Components, running: Sequence[Upsampler], *, with_prior: bool
) -> Settings:
    """Lays the settings that are given over those of the quality."""
    given = {key: value for key, value in settings.items() if value is not None}
    filled = preset(given.get("quality", "standard"), model, running, with_prior=with_prior)
    if "num_inference_steps" in given:
        filled.pop("decoder_num_inference_steps", None)
    scale = model.decoder.config.sampling.guidance_scale
    if _number(_decoder(settings, "guidance_scale", scale)) == 1:
        filled.pop("guidance_interval", None)
    return cast(Settings, filled | given)


def _interval(
    settings: Settings, guidance: float, default: tuple[float, float] | None
) -> tuple[float, float] | None:
    wish = settings.get("guidance_interval")
    if guidance == 1:
        if wish is not None:
            raise InputError("got a guidance_interval, but a guidance of 1 is none: give one")
        return None
    if wish is None:
        return default
    ends = as_list(wish)
    numbers = [_number(end) for end in ends]
    if len(numbers) != 2 or not 0 <= numbers[0] < numbers[1] <= 1:
        raise InputError(
            f"guidance_interval is {ends}, expected two numbers that grow, from 0 to 1"
        )
    return numbers[0], numbers[1]


def _super_res(settings: Settings, running: Sequence[Upsampler]) -> dict[str, tuple]:
    """The three settings that each upsampler has."""
    own = [upsampler.config.sampling for upsampler in running]
    defaults = [sampling.num_steps for sampling in own]
    steps = _each(settings, "super_res_num_inference_steps", "steps", defaults)
    samplers = _each(settings, "super_res_sampler", "sampler", [item.sampler for item in own])
    starts = _each(settings, "super_res_start", "start", [1.0] * len(own))
    starts = tuple(map(check_start, starts))
    lengths = [upsampler.config.diffusion.num_timesteps for upsampler in running]
    return {
        "super_res_steps": tuple(
            _check_steps("super_res", count, times_below(length, start))
            for count, length, start in zip(steps, lengths, starts, strict=True)
        ),
        "super_res_samplers": tuple(map(check_sampler, samplers)),
        "super_res_starts": starts,
    }


def _each(settings: Settings, name: str, what: str, defaults: list[T]) -> tuple[T, ...]:
    """One value for each upsampler that runs."""
    wish = settings.get(name)
    if wish is None:
        return tuple(defaults)
    values = tuple(as_list(wish) if is_list(wish) else as_list(wish) * len(defaults))
    if len(values) != len(defaults):
        raise InputError(f"got super_res {what} for {len(values)} upsamplers, {len(defaults)} run")
    if not values and what != "steps":
        raise InputError(f"got {name}, but no upsampler runs here: leave it out")
    return values


def check_sampler(name: Any) -> SamplerName:
    """Returns a sampler's name; raises InputError if there is none of it."""
    if not isinstance(name, str) or name not in SAMPLERS:
        raise InputError(f"sampler is {name!r}, expected {', '.join(SAMPLERS)}")
    return cast(SamplerName, name)


def check_start(start: Any) -> float:
    """Returns where upsamplers begin as a float; raises InputError if it is not in (0, 1]."""
    number = _number(start)
    if not 0 < number <= 1:
        raise InputError(f"super_res_start is {start!r}, expected above 0, up to 1 (all of it)")
    return number


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
    number = _number(scale)
    if not 0 <= number <= 1000:
        raise InputError(f"{stage} guidance is {scale!r}, expected 0 to 1000 (1 is none)")
    return number


def _number(value: Any) -> float:
    """Returns a number as a float, NumPy's and a tensor's too; not a number for all else."""
    try:
        if isinstance(value, str):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        return math.nan
