"""How much memory each stage of a model takes on its device: weights, and the most that is alive.

Told on the meta device (`unclip.nn.peak`), by running the stages' own code on it.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from decoder.sample import sample_images
from prior.model import Prior
from unclip.clip.features import TextFeatures
from unclip.diffusion.noise import SeededNoise
from unclip.nn.peak import peak_bytes
from unclip.pipeline.registry import Components
from upsamplers.model import Upsampler
from upsamplers.sample import upsample

STEPS = 2
"""Sampling steps that are run: memory is the same in each."""


@torch.inference_mode()
def stage_bytes(model: Components, *, rows: int = 1) -> dict[str, int]:
    """Returns the bytes that each network takes while it makes `rows` pictures.

    Args:
        model: on the meta device, where nothing is computed, in the precision it would have.
    """
    clip, decoder = model.clip, model.decoder
    weight = decoder.unet.conv_in.weight
    tokens = clip.config.text.context_length
    ids = torch.zeros(rows, tokens, dtype=torch.int64, device="meta")
    text = TextFeatures(
        _empty(weight, rows, decoder.config.embed_dim),
        _empty(weight, rows, tokens, decoder.config.text_width),
        torch.ones(rows, tokens, dtype=torch.bool, device="meta"),
    )
    noise = SeededNoise(range(rows), "peak")

    def paint() -> Tensor:
        return sample_images(decoder, text.embed, text, text, noise=noise, num_steps=STEPS)

    found = {
        "clip text": _bytes(clip.text, lambda: clip.text(ids)),
        "prior": _bytes(model.prior, lambda: _step_prior(model.prior, text)),
        "decoder": _bytes(decoder, paint),
    }
    for upsampler in model.upsamplers:
        found[f"upsampler_{upsampler.config.image_size}"] = _bytes(
            upsampler, lambda upsampler=upsampler: _enlarge(upsampler, rows)
        )
    return found


def _bytes(network: nn.Module, run: Callable[[], object]) -> int:
    weights = [*network.parameters(), *network.buffers()]
    return sum(tensor.nbytes for tensor in weights) + peak_bytes(run)


def _step_prior(prior: Prior, text: TextFeatures) -> Tensor:
    weight, candidates = prior.proj_in.weight, prior.config.sampling.candidates
    both = TextFeatures.cat([text, text]).to(dtype=weight.dtype)
    prefix = prior.prepare(both).repeat(candidates)
    count = len(both) * candidates
    x = _empty(weight, count, prior.config.embed_dim)
    return prior.step(x, torch.zeros(count, device="meta"), prefix)


def _enlarge(upsampler: Upsampler, rows: int) -> Tensor:
    side = upsampler.config.low_size
    images = torch.empty(rows, 3, side, side, device="meta")
    return upsample(upsampler, images, noise=SeededNoise(range(rows), "peak"), num_steps=STEPS)


def _empty(like: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device="meta")
