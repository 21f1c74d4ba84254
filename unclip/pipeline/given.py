"""What a call may bring along in place of what would be drawn or computed, as diffusers' does."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unclip.clip.features import TextFeatures
from unclip.errors import InputError
from unclip.pipeline.registry import Components


@dataclass(frozen=True)
class Latents:
    """First noise, a row a picture; None is drawn. What is given is not drawn, so a generator's
    later draws come earlier."""

    prior: Tensor | None = None
    decoder: Tensor | None = None
    super_res: Tensor | None = None
    """Of the first upsampler."""

    def part(self, rows: slice) -> "Latents":
        """Returns those of some of the pictures."""
        parts = (self.prior, self.decoder, self.super_res)
        return Latents(*(None if part is None else part[rows] for part in parts))


def check_latents(model: Components, latents: Latents, count: int) -> Latents:
    """Compares latents with what the stages draw.

    Raises:
        InputError: some are of another shape, or there is no stage for them.
    """
    size = model.decoder.config.image_size
    shapes: dict[str, tuple[int, ...]] = {"decoder": (count, 3, size, size)}
    if model.prior is not None and latents.prior is not None:
        if (candidates := model.prior.config.sampling.candidates) > 1:
            raise InputError(
                f"got prior_latents, but this model's prior draws {candidates} candidates a "
                "picture: leave them out"
            )
        shapes["prior"] = (count, model.prior.config.embed_dim)
    if model.upsamplers:
        large = model.upsamplers[0].config.image_size
        shapes["super_res"] = (count, 3, large, large)
    for stage in ("prior", "decoder", "super_res"):
        given = getattr(latents, stage)
        if given is None:
            continue
        if stage not in shapes:
            raise InputError(f"got {stage}_latents, but no such stage runs here: leave them out")
        if not isinstance(given, Tensor) or tuple(given.shape) != shapes[stage]:
            got = tuple(getattr(given, "shape", ()))
            raise InputError(f"got {stage}_latents of shape {got}, expected {shapes[stage]}")
    return latents


def given_text(
    output: Any, mask: Any, model: Components, num_images_per_prompt: int
) -> TextFeatures:
    """Reads diffusers' `text_model_output` and `text_attention_mask`: encoded prompts.

    Args:
        output: text embeddings (batch, dim) and token states (batch, tokens, width), a tuple or a
            transformers output.
        mask: True on the valid tokens, (batch, tokens).

    Raises:
        InputError: one of them is missing, or of another shape than the model's texts.
    """
    if output is None or mask is None:
        raise InputError("text_model_output and text_attention_mask go together: give both")
    config = model.clip.config
    try:
        embed, hidden, mask = output[0], output[1], torch.as_tensor(mask).bool()
        got = (tuple(embed.shape), tuple(hidden.shape), tuple(mask.shape))
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise InputError(
            "text_model_output is no text embeddings and token states: give (embeds, states)"
        ) from error
    rows, tokens = got[2][0] if got[2] else 0, config.text.context_length
    expected = ((rows, config.embed_dim), (rows, tokens, config.text.width), (rows, tokens))
    if got != expected or rows == 0:
        raise InputError(f"got texts of shapes {got}, expected {expected}")
    device = model.clip.logit_scale.device
    text = TextFeatures(embed.float(), hidden.float(), mask).to(device)
    return text.repeat_interleave(num_images_per_prompt)


def given_embeds(embeds: Any, model: Components) -> Tensor:
    """Reads diffusers' `image_embeddings`: pictures that CLIP has encoded, (batch, dim).

    Raises:
        InputError: they are of another shape.
    """
    dim = model.decoder.config.embed_dim
    if (
        not isinstance(embeds, Tensor)
        or embeds.dim() != 2
        or embeds.shape[1] != dim
        or not len(embeds)
    ):
        got = tuple(getattr(embeds, "shape", ()))
        raise InputError(f"got image_embeddings of shape {got}, expected (batch, {dim})")
    return embeds.to(model.clip.logit_scale.device).float()


def only_one(**given: object) -> None:
    """Raises InputError unless one of two arguments is there."""
    names = list(given)
    there = [name for name in names if given[name] is not None]
    if len(there) != 1:
        raise InputError(
            f"got {' and '.join(there) or f'no {names[0]}'}: give {' or '.join(names)}"
        )
