"""`quality`: a named set of settings, scaled to the model's own; a setting that is given wins.

`standard` is the model's own. `draft` leaves out what a picture loses least by (docs/speed.md has
the measured error and gain of each): fewer steps, of DPM-Solver++ (arXiv 2211.01095) where the
model's own sampler is ancestral; guidance in the middle of the time only (arXiv 2404.07724);
upsamplers that begin from the enlarged picture, as SDEdit does (arXiv 2108.01073). `best` doubles
the decoder's steps.
"""

from collections.abc import Sequence
from typing import Any

from prior.model import Prior
from unclip.errors import InputError
from unclip.pipeline.registry import Components
from unclip.provenance.record import Sampling
from upsamplers.model import Upsampler

QUALITIES = ("draft", "standard", "best")
DRAFT_SAMPLER = "dpmpp_2m"
"""In place of ancestral sampling, which few steps do not suit; other samplers stay."""
DRAFT_STEPS = 0.4
"""Of the decoder's own steps, and of the prior's."""
DRAFT_LEAST_STEPS = 4
DRAFT_GUIDANCE = (0.2, 0.8)
"""Fractions of the time between which the decoder is guided."""
DRAFT_SUPER_RES_STEPS = 0.3
DRAFT_SUPER_RES_LEAST_STEPS = 2
DRAFT_SUPER_RES_START = 0.5
"""Fraction of the time at which the upsamplers begin."""
BEST_STEPS = 2
"""Times the decoder's own steps."""


def preset(
    quality: Any, model: Components, running: Sequence[Upsampler], *, with_prior: bool
) -> dict[str, Any]:
    """Returns the settings that a quality stands for with this model, under their own names.

    Args:
        running: the upsamplers that run.

    Raises:
        InputError: there is no such quality.
    """
    if not isinstance(quality, str) or quality not in QUALITIES:
        raise InputError(f"quality is {quality!r}, expected {', '.join(QUALITIES)}")
    own = model.decoder.config.sampling
    if quality == "standard":
        return {}
    if quality == "best":
        most = model.decoder.config.diffusion.num_timesteps
        return {"decoder_num_inference_steps": min(BEST_STEPS * own.num_steps, most)}
    settings: dict[str, Any] = {
        "decoder_num_inference_steps": _fewer(own.num_steps, DRAFT_STEPS, DRAFT_LEAST_STEPS),
        "guidance_interval": DRAFT_GUIDANCE,
    }
    if own.sampler == "ddpm":
        settings["sampler"] = DRAFT_SAMPLER
    if with_prior and isinstance(model.prior, Prior):
        steps = model.prior.config.sampling.num_steps
        settings["prior_num_inference_steps"] = _fewer(steps, DRAFT_STEPS, DRAFT_LEAST_STEPS)
    if running:
        share, least = DRAFT_SUPER_RES_STEPS, DRAFT_SUPER_RES_LEAST_STEPS
        settings["super_res_num_inference_steps"] = [
            _fewer(upsampler.config.sampling.num_steps, share, least) for upsampler in running
        ]
        settings["super_res_start"] = DRAFT_SUPER_RES_START
    return settings


def _fewer(own: int, share: float, least: int) -> int:
    return min(own, max(least, int(share * own)))


def describe(sampling: Sampling) -> str:
    """Says in one line how the stages are run, as `generate -v` tells it."""
    parts = []
    if sampling.prior_steps is not None:
        parts.append(f"prior {sampling.prior_steps} steps")
    guided = "unguided" if sampling.decoder_guidance == 1 else "guided"
    if sampling.guidance_interval is not None:
        low, high = sampling.guidance_interval
        guided = f"guided from {high:g} to {low:g} of the time"
    parts.append(f"decoder {sampling.decoder_steps} steps of {sampling.sampler}, {guided}")
    for steps, sampler, start in zip(
        sampling.super_res_steps,
        sampling.super_res_samplers,
        sampling.super_res_starts,
        strict=True,
    ):
        late = "" if start == 1 else f" from {start:g} of the time"
        parts.append(f"upsampler {steps} steps of {sampler}{late}")
    return "; ".join(parts)
