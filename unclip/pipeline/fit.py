"""Do stages belong together? A prior or decoder understands only the CLIP it was trained on."""

from collections.abc import Sequence

from decoder.config import DecoderConfig
from prior.kinds import config_of
from unclip.checkpoint import StageFolder
from unclip.clip.config import CLIPConfig
from unclip.config import from_dict
from unclip.errors import CheckpointError
from unclip.karlo.opened import OpenStage
from upsamplers.config import UpsamplerConfig

Stage = StageFolder | OpenStage


def check_fit(
    clip: Stage,
    prior: Stage | None,
    decoder: Stage,
    upsamplers: Sequence[Stage],
) -> None:
    """Compares what the stages say of themselves.

    Raises:
        CheckpointError: two stages do not fit; the message names them and what differs.
        ConfigError: a stage's configuration is damaged.
    """
    fingerprint = clip.config.get("fingerprint")
    for stage in filter(None, (prior, decoder)):
        trained_on = stage.metadata.get("clip")
        if trained_on != fingerprint:
            raise CheckpointError(
                f"the {stage.stage} was trained on the CLIP {trained_on}, but this CLIP is "
                f"{fingerprint}: take the CLIP it was trained on, or train it again"
            )
    _check_widths(clip, prior, decoder)
    _check_sizes(decoder, upsamplers)


def _check_widths(clip: Stage, prior: Stage | None, decoder: Stage) -> None:
    values = {key: value for key, value in clip.config.items() if key != "fingerprint"}
    wanted = from_dict(CLIPConfig, values, "clip/config.json")
    configs: dict[str, object] = {
        "decoder": from_dict(DecoderConfig, decoder.config, "decoder/config.json")
    }
    if prior is not None:
        configs["prior"] = config_of(prior.config, "prior/config.json")
    for stage, config in configs.items():
        for what, got, expected in wanted.differences(config):
            raise CheckpointError(
                f"the {stage}'s {what} is {got}, but this CLIP's is {expected}: they do not fit"
            )


def _check_sizes(decoder: Stage, upsamplers: Sequence[Stage]) -> None:
    size, before = (
        from_dict(DecoderConfig, decoder.config, "decoder/config.json").image_size,
        "decoder",
    )
    for number, stage in enumerate(upsamplers, 1):
        config = from_dict(UpsamplerConfig, stage.config, f"upsampler {number}: config.json")
        if config.low_size != size:
            raise CheckpointError(
                f"upsampler {number} goes from {config.low_size} to {config.image_size} px, but "
                f"the {before} gives {size} px: list the upsamplers from small to large"
            )
        size, before = config.image_size, f"upsampler {number}"
