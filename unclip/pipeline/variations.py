"""Variations of a picture: its CLIP embedding, moved a little, painted anew."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from prior.kinds import AnyPrior
from unclip.diffusion.noise import Noise
from unclip.errors import InputError

PRESETS = {"subtle": 0.25, "strong": 0.6}


def resolve_strength(strength: str | float | None, prior: AnyPrior | None) -> float:
    """Reads a strength; None is subtle, and 0 without a prior.

    Raises:
        InputError: it is none.
    """
    if strength is None:
        return 0.0 if prior is None else PRESETS["subtle"]
    return parse_strength(strength)


def parse_strength(strength: str | float) -> float:
    """Reads `subtle`, `strong`, or a number in [0, 1].

    Raises:
        InputError: it is none of these.
    """
    try:
        preset = PRESETS.get(strength) if isinstance(strength, str) else None
        value = float(strength) if preset is None else preset
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value <= 1:
        raise InputError(f"strength is {strength}, expected 0 to 1, {' or '.join(PRESETS)}")
    return value


@torch.inference_mode()
def vary(
    prior: AnyPrior | None, image_embed: Float[Tensor, "batch dim"], strength: float, noise: Noise
) -> Float[Tensor, "batch dim"]:
    """Mixes noise into embeddings: 0 keeps them, 1 gives those of unrelated pictures.

    It is mixed in the prior's whitened space, where every direction has the variance that real
    pictures have, and keeps that variance: the result is the embedding of some picture.

    Raises:
        InputError: the model has no prior, whose statistics tell what pictures are like.
    """
    if strength == 0:
        return image_embed.float()
    if prior is None:
        raise InputError(
            f"strength is {strength}, but this model has no prior, whose statistics tell how "
            "pictures vary: leave it out, or give 0"
        )
    x = prior.whiten(image_embed.float())
    eps = noise(x.shape[1:]).to(x)
    return prior.unwhiten(math.sqrt(1 - strength**2) * x + strength * eps)
