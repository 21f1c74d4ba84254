"""How much memory each stage of a model takes on its device: weights, and the most that is alive.

Told on the meta device (`unclip.nn.peak`), by running the stages' own code on it.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from decoder.model import Decoder
from prior.autoregressive import AutoregressivePrior
from prior.kinds import AnyPrior
from prior.model import Prior
from unclip.diffusion.noise import SeededNoise
from unclip.nn.incremental import Incremental
from unclip.nn.peak import peak_bytes
from unclip.nn.spatial_attention import Context
from unclip.nn.stepping import Stepper
from unclip.pipeline.registry import Components
from upsamplers.model import Upsampler
from upsamplers.sample import upsample

TEXT_TOKENS = 77
STEPS = 2
"""Sampling steps of an upsampler that are run: memory is the same in each."""


@torch.inference_mode()
def stage_bytes(model: Components, *, rows: int = 1) -> dict[str, int]:
    """Returns the bytes that each network takes while it makes `rows` pictures, guided, from texts
    of full length.

    Args:
        model: on the meta device, where nothing is computed, in the precision it would have.
    """
    clip = model.clip
    ids = torch.zeros(rows, clip.config.text.context_length, dtype=torch.int64, device="meta")
    found = {"clip text": _bytes(clip.text, lambda: clip.text(ids))}
    if (prior := model.prior) is not None:
        found["prior"] = _bytes(prior, lambda: _run_prior(prior, rows))
    found["decoder"] = _bytes(model.decoder, lambda: _step_decoder(model.decoder, rows))
    for upsampler in model.upsamplers:
        found[f"upsampler_{upsampler.config.image_size}"] = _bytes(
            upsampler, lambda upsampler=upsampler: _enlarge(upsampler, rows)
        )
    return found


def _bytes(network: nn.Module, run: Callable[[], object]) -> int:
    weights = [*network.parameters(), *network.buffers()]
    return sum(tensor.nbytes for tensor in weights) + peak_bytes(run)


def _run_prior(prior: AnyPrior, rows: int) -> Tensor:
    if isinstance(prior, AutoregressivePrior):
        return _write_code(prior, rows)
    return _step_prior(prior, rows)


def _write_code(prior: AutoregressivePrior, rows: int) -> Tensor:
    """The last code, with all before it kept."""
    config, weight = prior.config, prior.to_logits.weight
    count, width = 2 * rows * config.sampling.candidates, prior.to_logits.in_features
    length = config.prefix_length + config.num_codes - 1
    cache = Incremental(prior.transformer_blocks, count, length, weight)
    cache.run(_empty(weight, count, length - 1, width))
    return prior.answer(cache.run(_empty(weight, count, 1, width)))


def _step_prior(prior: Prior, rows: int) -> Tensor:
    config, weight = prior.config, prior.proj_in.weight
    length, width = config.context_length + 1, prior.proj_in.out_features
    prefixes = [_empty(weight, length, width) for _ in range(2 * rows)]
    copies = [config.sampling.candidates] * len(prefixes)
    times = prior.time_tokens(range(config.sampling.num_steps))
    stepper = Stepper(prior.transformer_blocks, prefixes, copies, times, tokens=2)
    x = _empty(weight, sum(copies), config.embed_dim)
    return prior.answer(stepper.run(prior.new_tokens(x), stepper.at(0), stepper.rooms))


def _step_decoder(decoder: Decoder, rows: int) -> Tensor:
    config, weight, count = decoder.config, decoder.unet.conv_in.weight, 2 * rows
    tokens = _empty(weight, count, TEXT_TOKENS, config.text_width)
    mask = torch.ones(count, TEXT_TOKENS, dtype=torch.bool, device="meta")
    drop = torch.zeros(count, dtype=torch.bool, device="meta")
    embed = _empty(weight, count, config.embed_dim)
    condition = decoder.condition(
        embed, embed, tokens, mask, drop, drop if config.learned_text_null else None
    )
    steps = decoder.unet.modulations_of_steps(range(config.sampling.num_steps), condition.embed)
    x = _empty(weight, count, 3, config.image_size, config.image_size)
    return decoder.unet(x, steps[0], Context(condition.context.keys_values, None))


def _enlarge(upsampler: Upsampler, rows: int) -> Tensor:
    side = upsampler.config.low_size
    images = torch.empty(rows, 3, side, side, device="meta")
    return upsample(upsampler, images, noise=SeededNoise(range(rows), "peak"), num_steps=STEPS)


def _empty(like: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device="meta")
