"""What of a model diffusers' layout of Karlo has no place for.

Its components are classes with fixed settings (`components.py`); what they cannot say would be lost
or make other pictures, so such a model is not written. What is of no account for a picture's
weights, such as how many steps are usual, is told instead.
"""

import torch

from decoder.config import DecoderConfig, DecoderSampling
from prior.autoregressive_config import AutoregressiveConfig
from prior.config import PriorConfig, PriorSampling
from unclip.clip.weights import MAX_LOGIT_SCALE
from unclip.diffusion.schedules import DiffusionConfig
from unclip.errors import CheckpointError
from unclip.karlo.build import Networks
from unclip.karlo.opened import OpenModel
from unclip.nn.unet import UNetConfig
from upsamplers.config import UpsamplerConfig, UpsamplerSampling

PRIOR_SAMPLING = PriorSampling(num_steps=25, guidance_scale=4.0, candidates=1)
DECODER_SAMPLING = DecoderSampling(num_steps=25, guidance_scale=8.0)
UPSAMPLER_SAMPLING = UpsamplerSampling(num_steps=7)
"""What diffusers' pipelines do unless told otherwise."""


def check_expressible(networks: Networks, name: str) -> None:
    """Refuses a model that would be another one in diffusers' layout.

    Raises:
        CheckpointError: it has features for which there is no place; all are named.
    """
    found = _of_the_whole(networks)
    if networks.prior is not None:
        found += _of_the_prior(networks.prior.config)
    found += _of_the_decoder(networks.decoder.config)
    for upsampler in networks.upsamplers[:1]:
        found += _of_the_upsampler(upsampler.config)
    if found:
        raise CheckpointError(
            f"{name} cannot be written for diffusers, which has no place for: {'; '.join(found)}. "
            "Keep it in our layout (--to unclip)"
        )


def lost(model: OpenModel, networks: Networks) -> list[str]:
    """What diffusers' layout does not say, though it makes the same pictures all but exactly."""
    stages: list[tuple[str, PriorConfig | DecoderConfig | UpsamplerConfig, object]] = []
    if networks.prior is not None and isinstance(networks.prior.config, PriorConfig):
        stages.append(("prior", networks.prior.config, PRIOR_SAMPLING))
    stages.append(("decoder", networks.decoder.config, DECODER_SAMPLING))
    stages += [("upsampler", network.config, UPSAMPLER_SAMPLING) for network in networks.upsamplers]
    notes = [
        f"the {stage}'s usual settings ({config.sampling})"
        for stage, config, usual in stages
        if config.sampling != usual
    ]
    if any(config.diffusion.precision == "float64" for _, config, _ in stages):
        notes.append("schedules in float64 (diffusers computes float32, up to 5e-4 apart)")
    if networks.clip.config.text.clean != "hugging_face":
        notes.append("how open_clip reads odd characters (diffusers reads them its own way)")
    scale = float(model.clip.tensors["logit_scale"].load())
    if scale != float(torch.tensor(MAX_LOGIT_SCALE)):
        notes.append(f"the scale of CLIP's cosine, exp({scale:.4f}), which no picture depends on")
    return notes


def _of_the_whole(networks: Networks) -> list[str]:
    sizes = [upsampler.config.image_size for upsampler in networks.upsamplers]
    found = []
    if not sizes:
        found.append("a model without an upsampler")
    found += [f"an upsampler to {size} px after the first" for size in sizes[1:]]
    if networks.prior is None and networks.clip.config.text_only:
        found.append("a model with neither a prior nor an image tower")
    return found


def _of_the_prior(config: PriorConfig | AutoregressiveConfig) -> list[str]:
    if isinstance(config, AutoregressiveConfig):
        return ["prior: an autoregressive one"]
    return _widths("prior", config) + _of_a_process("prior", config.diffusion)


def _of_the_decoder(config: DecoderConfig) -> list[str]:
    found = ["decoder: a learned text null"] if config.learned_text_null else []
    found += ["decoder: blocks over the text"] if config.text_layers else []
    found += _widths("decoder", config) + _of_a_unet("decoder", config.unet, scale_shift=True)
    levels = len(config.unet.channels)
    if config.unet.attention != (False, *[True] * (levels - 1)):
        found.append("decoder: attention on other levels than all but the first")
    if config.unet.middle_attention is False or levels == 1:
        found.append("decoder: a middle without attention")
    if config.diffusion.variance != "learned_range":
        found.append("decoder: a variance that is not learned")
    return found + _of_a_process("decoder", config.diffusion)


def _of_the_upsampler(config: UpsamplerConfig) -> list[str]:
    found = ["upsampler: told augmentation"] if config.tells_augmentation else []
    found += _of_a_unet("upsampler", config.unet, scale_shift=False)
    return found + _of_a_process("upsampler", config.diffusion)


def _widths(stage: str, config: PriorConfig | DecoderConfig) -> list[str]:
    if config.embed_dim == config.text_width:
        return []
    return [f"{stage}: text_width {config.text_width} other than embed_dim {config.embed_dim}"]


def _of_a_unet(stage: str, config: UNetConfig, *, scale_shift: bool) -> list[str]:
    """What diffusers' U-Nets have not."""
    ours = {
        "extra input channels": config.extra_channels > 0,
        "positions": config.positions > 0,
        "unshuffle": config.unshuffle > 1,
        "refine_channels": config.refine_channels > 0,
        f"scale_shift {config.scale_shift}": config.scale_shift != scale_shift,
    }
    return [f"{stage}: {what}" for what, there in ours.items() if there]


def _of_a_process(stage: str, config: DiffusionConfig) -> list[str]:
    """What UnCLIPScheduler has not."""
    ours = {
        f"the {config.schedule} schedule": config.schedule != "cosine",
        f"a schedule shifted by {config.shift:g}": config.shift != 0,
        "v-prediction": config.prediction == "v",
    }
    return [f"{stage}: {what}" for what, there in ours.items() if there]
